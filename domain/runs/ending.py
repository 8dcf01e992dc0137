"""How a run ended, judged from what its run directory says; silence is not an end."""

from domain.processes.end import End, excerpt
from domain.processes.failure import Failure, FailureClass
from domain.processes.log import LogChunk
from domain.processes.ports import Exit
from domain.runs.artifact import Look
from domain.runs.run import Run, RunStatus

MOST_ATTEMPTS = 3
"""The infrastructure may fail a run twice; a third time it is not chance."""
OUT_OF_GPU_MEMORY = ("CUDA out of memory", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "CUBLAS_STATUS_ALLOC_FAILED")
"""What frameworks print when the GPU's memory does not suffice."""

_VANISHED = "the training process is gone and left no exit record: it was killed together with its shim, or the host was restarted"


class Ending(End, frozen=True, kw_only=True):
    """The evidence that an attempt is over, and what it left."""

    look: Look = Look()
    """What its output folder shows."""

    def verdict(self, run: Run, last_chunk: LogChunk | None) -> tuple[RunStatus, Failure | None]:
        """Decide the terminal status, and who failed if it failed; a run that was asked to cancel ends cancelled."""
        if run.status is RunStatus.cancelling:
            return RunStatus.cancelled, None
        if self.exit is not None and self.exit.code == 0:
            return RunStatus.succeeded, None
        said = excerpt(last_chunk)
        failure_class, reason = self._blame(said)
        return RunStatus.failed, Failure(failure_class=failure_class, reason=reason, evidence=self.evidence(), log_excerpt=said)

    def deserves_another(self, failure: Failure | None) -> bool:
        """Whether the run is to be tried again: the infrastructure failed it, not for the last time, and not by a lasting obstacle."""
        if failure is None or failure.failure_class is not FailureClass.infrastructure:
            return False
        return self.attempt < MOST_ATTEMPTS and (self.broke_off or self.passing)

    def _blame(self, said: list[str]) -> tuple[FailureClass, str]:
        if self.refusal is not None:
            return self.blame, f"the training could not be started: {self.refusal}"
        if self.cause is not None:
            return FailureClass.out_of_memory if self.cause.out_of_memory else FailureClass.infrastructure, self.cause.reason
        if self.exit is None:
            return FailureClass.infrastructure, _VANISHED
        return self._blame_by(self.exit, said)

    @staticmethod
    def _blame_by(end: Exit, said: list[str]) -> tuple[FailureClass, str]:
        if end.error is not None:
            return FailureClass.infrastructure, f"the training could not be started: {end.error}"
        if end.signal is not None:
            return FailureClass.user_code, f"the training was killed by signal {end.signal} that Tuneyard did not send"
        found = next((line for line in reversed(said) if any(words in line for words in OUT_OF_GPU_MEMORY)), None)
        if found:
            return FailureClass.out_of_memory, f"the GPU's memory did not suffice: {found.strip()}"
        return FailureClass.user_code, f"the training exited with code {end.code}"


def last_words(status: RunStatus, failure: Failure | None) -> str:
    """Say in the log how it ended."""
    if status is RunStatus.succeeded:
        return "训练完成 training finished · exit code 0"
    if status is RunStatus.cancelled or failure is None:
        return "训练已取消 training cancelled"
    return f"训练失败 training failed · {failure.reason}"
