"""The end of one attempt of a process, as far as there is evidence; silence is not an end. What it means, its owner says."""

from datetime import UTC, datetime

from msgspec import Struct

from domain.ids import HostName
from domain.processes.attempt import Attempt
from domain.processes.failure import Failure, FailureClass
from domain.processes.log import LogChunk
from domain.processes.ports import Cause, Exit

EXCERPT_LINES = 20
"""Last lines of the log shown with a failure: a stack trace's end, not its whole."""
LONGEST_EXCERPT_LINE = 500
"""Characters of each of them."""


class End(Struct, frozen=True, kw_only=True):
    """The evidence that an attempt is over."""

    attempt: int
    began: bool
    """Whether its command ever ran."""
    started_at: float | None = None
    """When, by the host's clock, seconds since the epoch."""
    exit: Exit | None = None
    """None when no exit was recorded though nothing of it lives."""
    cause: Cause | None = None
    """What the executor knows of why it died."""
    refusal: str | None = None
    """Why it could not be started at all."""
    blame: FailureClass = FailureClass.infrastructure
    """Who is to blame for that."""
    passing: bool = False
    """Whether what kept it from starting may pass by itself."""
    left: list[int] = []
    """Pids of it that could not be killed."""
    blind: bool = False
    """Whether what it left is not to be looked at: that broke Tuneyard itself, again and again."""

    @property
    def code(self) -> int | None:
        """Return the true exit code, where one is known."""
        return self.exit.code if self.exit else None

    @property
    def broke_off(self) -> bool:
        """Whether its command ran and was then cut off, or ended by itself."""
        return self.began and (self.exit is None or self.exit.error is None)

    def record(self, host: HostName | None, at: datetime, failure: Failure | None) -> Attempt:
        """Return what is kept of this attempt."""
        started = None if self.started_at is None else datetime.fromtimestamp(self.started_at, UTC)
        return Attempt(number=self.attempt, host=host, started_at=started, ended_at=at, exit_code=self.code, failure=failure)

    def evidence(self) -> list[str]:
        """Say what was seen, each thing as it was."""
        seen = []
        if self.refusal is None:
            seen.append(f"exit record: {_shown(self.exit)}" if self.exit else "no exit record, and nobody holds the attempt's lock")
        if self.cause:
            seen.append(self.cause.reason)
        if self.left:
            seen.append(f"pids that could not be killed: {', '.join(map(str, self.left))}")
        return seen


def excerpt(chunk: LogChunk | None) -> list[str]:
    """Return the last lines of a log, as they are shown with a failure."""
    if chunk is None:
        return []
    lines = chunk.texts()[-EXCERPT_LINES:]
    return [line.decode("utf-8", "replace")[:LONGEST_EXCERPT_LINE] for line in lines]


def _shown(end: Exit) -> str:
    if end.error is not None:
        return end.error
    return f"signal {end.signal}" if end.signal is not None else f"code {end.code}"
