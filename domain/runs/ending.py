"""How a run ended, judged from what its run directory says; silence is not an end."""

from msgspec import Struct

from domain.processes.log import LogChunk
from domain.processes.ports import Exit
from domain.runs.artifact import Found
from domain.runs.run import Failure, FailureClass, Run, RunStatus

_VANISHED = "the training process is gone and left no exit record: it was killed together with its shim, or the host was restarted"
EXCERPT_LINES = 20
"""Last lines of the log shown with a failure: a stack trace's end, not its whole."""
LONGEST_EXCERPT_LINE = 500
"""Characters of each of them."""


class Ending(Struct, frozen=True, kw_only=True):
    """The evidence that an attempt is over, and what it left."""

    began: bool
    """Whether its command ever ran."""
    exit: Exit | None = None
    """None when no exit was recorded though nothing of it lives."""
    refusal: str | None = None
    """Why it could not be started at all."""
    findings: list[Found] = []
    root: str = ""
    """URI of the output folder."""

    @property
    def code(self) -> int | None:
        """Return the true exit code, where one is known."""
        return self.exit.code if self.exit else None

    def verdict(self, run: Run, last_chunk: LogChunk | None) -> tuple[RunStatus, Failure | None]:
        """Decide the terminal status, and who failed if it failed; a run that was asked to cancel ends cancelled."""
        if run.status is RunStatus.cancelling:
            return RunStatus.cancelled, None
        if self.exit is not None and self.exit.code == 0:
            return RunStatus.succeeded, None
        failure_class, reason = self._blame()
        return RunStatus.failed, Failure(failure_class=failure_class, reason=reason, log_excerpt=_excerpt(last_chunk))

    def last_words(self, status: RunStatus) -> str:
        """Say in the log how it ended."""
        if status is RunStatus.succeeded:
            return "训练完成 training finished · exit code 0"
        if status is RunStatus.cancelled:
            return "训练已取消 training cancelled"
        return f"训练失败 training failed · {self._blame()[1]}"

    def _blame(self) -> tuple[FailureClass, str]:
        if self.refusal is not None:
            return FailureClass.infrastructure, f"the training could not be started: {self.refusal}"
        if self.exit is None:
            return (
                FailureClass.infrastructure,
                _VANISHED,
            )
        if self.exit.error is not None:
            return FailureClass.infrastructure, f"the training could not be started: {self.exit.error}"
        if self.exit.signal is not None:
            return FailureClass.user_code, f"the training was killed by signal {self.exit.signal} that Tuneyard did not send"
        return FailureClass.user_code, f"the training exited with code {self.exit.code}"


def _excerpt(chunk: LogChunk | None) -> list[str]:
    if chunk is None:
        return []
    lines = chunk.texts()[-EXCERPT_LINES:]
    return [line.decode("utf-8", "replace")[:LONGEST_EXCERPT_LINE] for line in lines]
