"""How a run ended, judged from what its run directory says; silence is not an end."""

from datetime import UTC, datetime

from msgspec import Struct

from domain.processes.log import LogChunk
from domain.processes.ports import Cause, Exit
from domain.runs.artifact import Look
from domain.runs.attempt import Attempt
from domain.runs.failure import Failure, FailureClass
from domain.runs.run import Run, RunStatus

EXCERPT_LINES = 20
"""Last lines of the log shown with a failure: a stack trace's end, not its whole."""
LONGEST_EXCERPT_LINE = 500
"""Characters of each of them."""
MOST_ATTEMPTS = 3
"""The infrastructure may fail a run twice; a third time it is not chance."""
OUT_OF_GPU_MEMORY = ("CUDA out of memory", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "CUBLAS_STATUS_ALLOC_FAILED")
"""What frameworks print when the GPU's memory does not suffice."""

_VANISHED = "the training process is gone and left no exit record: it was killed together with its shim, or the host was restarted"


class Ending(Struct, frozen=True, kw_only=True):
    """The evidence that an attempt is over, and what it left."""

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
    bad_input: bool = False
    """Whether that was because of what it would read."""
    passing: bool = False
    """Whether what kept it from starting may pass by itself."""
    left: list[int] = []
    """Pids of it that could not be killed."""
    look: Look = Look()
    """What its output folder shows."""

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
        excerpt = _excerpt(last_chunk)
        failure_class, reason = self._blame(excerpt)
        return RunStatus.failed, Failure(failure_class=failure_class, reason=reason, evidence=self._evidence(), log_excerpt=excerpt)

    def record(self, run: Run, at: datetime, failure: Failure | None) -> Attempt:
        """Return what is kept of this attempt."""
        started = None if self.started_at is None else datetime.fromtimestamp(self.started_at, UTC)
        return Attempt(number=self.attempt, host=run.host, started_at=started, ended_at=at, exit_code=self.code, failure=failure)

    def deserves_another(self, failure: Failure | None) -> bool:
        """Whether the run is to be tried again: the infrastructure failed it, not for the last time, and not by a lasting obstacle."""
        if failure is None or failure.failure_class is not FailureClass.infrastructure:
            return False
        broke_off = self.began and (self.exit is None or self.exit.error is None)
        return self.attempt < MOST_ATTEMPTS and (broke_off or self.passing)

    def _blame(self, excerpt: list[str]) -> tuple[FailureClass, str]:
        if self.refusal is not None:
            who = FailureClass.bad_input if self.bad_input else FailureClass.infrastructure
            return who, f"the training could not be started: {self.refusal}"
        if self.cause is not None:
            return FailureClass.out_of_memory if self.cause.out_of_memory else FailureClass.infrastructure, self.cause.reason
        if self.exit is None:
            return FailureClass.infrastructure, _VANISHED
        return self._blame_by(self.exit, excerpt)

    @staticmethod
    def _blame_by(end: Exit, excerpt: list[str]) -> tuple[FailureClass, str]:
        if end.error is not None:
            return FailureClass.infrastructure, f"the training could not be started: {end.error}"
        if end.signal is not None:
            return FailureClass.user_code, f"the training was killed by signal {end.signal} that Tuneyard did not send"
        said = next((line for line in reversed(excerpt) if any(words in line for words in OUT_OF_GPU_MEMORY)), None)
        if said:
            return FailureClass.out_of_memory, f"the GPU's memory did not suffice: {said.strip()}"
        return FailureClass.user_code, f"the training exited with code {end.code}"

    def _evidence(self) -> list[str]:
        """Say what was seen, each thing as it was."""
        seen = []
        if self.refusal is None:
            seen.append(f"exit record: {_shown(self.exit)}" if self.exit else "no exit record, and nobody holds the attempt's lock")
        if self.cause:
            seen.append(self.cause.reason)
        if self.left:
            seen.append(f"pids that could not be killed: {', '.join(map(str, self.left))}")
        return seen


def last_words(status: RunStatus, failure: Failure | None) -> str:
    """Say in the log how it ended."""
    if status is RunStatus.succeeded:
        return "训练完成 training finished · exit code 0"
    if status is RunStatus.cancelled or failure is None:
        return "训练已取消 training cancelled"
    return f"训练失败 training failed · {failure.reason}"


def _shown(end: Exit) -> str:
    if end.error is not None:
        return end.error
    return f"signal {end.signal}" if end.signal is not None else f"code {end.code}"


def _excerpt(chunk: LogChunk | None) -> list[str]:
    if chunk is None:
        return []
    lines = chunk.texts()[-EXCERPT_LINES:]
    return [line.decode("utf-8", "replace")[:LONGEST_EXCERPT_LINE] for line in lines]
