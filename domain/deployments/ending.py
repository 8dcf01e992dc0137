"""What the end of a server means that nobody asked to end: who is to blame, and whether it is begun anew."""

from msgspec import Struct
from msgspec.structs import replace

from domain.deployments.deployment import MOST_FIRST_ATTEMPTS, Deployment, Restart
from domain.deployments.why_failed import Why, why_failed
from domain.processes.end import End, excerpt
from domain.processes.failure import Failure, FailureClass
from domain.processes.log import LogChunk

_VANISHED = "the server is gone and left no exit record: it was killed together with its shim, or the host was restarted"
_CLASSES = {
    "out_of_memory": FailureClass.out_of_memory,
    "gpu_memory_held": FailureClass.out_of_memory,
    "context_too_long": FailureClass.out_of_memory,
}
"""Of what servers say of themselves; what lasts is otherwise the request's fault, what passes the infrastructure's."""


class Verdict(Struct, frozen=True):
    """Why it ended, and whether another attempt is worth it."""

    failure: Failure
    again: bool


def judge(deployment: Deployment, end: End, last: LogChunk | None) -> Verdict:
    """Judge an attempt that nobody asked to end. What has once answered is begun anew for ever, what never did three times."""
    why = _why(deployment, end, last)
    failure = deployment.condemned or _blame(end, why)
    if deployment.condemned is not None and why is not None:
        failure = replace(failure, reason=f"{failure.reason}; {_words(why)}")
    said = excerpt(last) if end.began else []
    return Verdict(replace(failure, evidence=end.evidence(), log_excerpt=said), _deserves_another(deployment, end, why))


def _deserves_another(deployment: Deployment, end: End, why: Why | None) -> bool:
    if deployment.restart is Restart.never:
        return False
    if deployment.answered_at is not None:
        return True
    hopeless = (why is not None and why.lasting) or not (end.broke_off or end.passing)
    return not hopeless and end.attempt < MOST_FIRST_ATTEMPTS


def _why(deployment: Deployment, end: End, last: LogChunk | None) -> Why | None:
    """Look for the reason in its words, unless somebody else ended it in the middle of its life."""
    killed = end.exit is None or end.exit.signal is not None
    if last is None or not end.began or last.attempt != end.attempt or (killed and deployment.healthy_at is not None):
        return None
    return why_failed(line.decode("utf-8", "replace") for line in last.texts())


def _blame(end: End, why: Why | None) -> Failure:
    refusal = end.refusal or (end.exit and end.exit.error)
    if refusal is not None:
        return _failure(f"the server could not be started: {refusal}", end.blame)
    if why is not None:
        return _failure(_words(why), _CLASSES.get(why.code, FailureClass.bad_input if why.lasting else None))
    if end.cause is not None:
        return _failure(end.cause.reason, FailureClass.out_of_memory if end.cause.out_of_memory else None)
    if end.exit is None:
        return _failure(_VANISHED)
    if end.exit.signal is not None:
        return _failure(f"the server was killed by signal {end.exit.signal} that Tuneyard did not send")
    more = ", though nobody asked it to stop: its engine has probably died" if end.exit.code == 0 else ""
    return _failure(f"the server exited with code {end.exit.code}{more}")


def _failure(reason: str, failure_class: FailureClass | None = None) -> Failure:
    return Failure(failure_class=failure_class or FailureClass.infrastructure, reason=reason)


def _words(why: Why) -> str:
    return f"{why.text.zh} {why.text.en} ({why.line})"
