"""What a host does for a job: take it, see it begin, store what it says, and end it: with the dataset's next version or unchanged."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from domain.datasets import actions as datasets
from domain.datasets.dataset import Deidentified
from domain.errors import Conflict, NotFound
from domain.events.actions import record
from domain.files import Kept
from domain.ids import JobId, ProcessId, UploadId
from domain.jobs.actions import Tx, move
from domain.jobs.job import Done, Job, JobStatus
from domain.processes import actions as processes
from domain.processes.actions import Speaker
from domain.processes.end import End, excerpt
from domain.processes.failure import Failure, FailureClass
from domain.processes.ports import Sight
from domain.processes.process import Phase, Process

MOST_ATTEMPTS = 3
"""What breaks it three times is no chance; each goes on where the last one ended."""


class Words(Struct, frozen=True, kw_only=True):
    """A stretch of a job's output, understood."""

    attempt: int
    lines: list[bytes]
    progress: float | None
    first_byte: int
    end_byte: int
    seen_at: datetime


class Ending(End, frozen=True, kw_only=True):
    """The evidence that an attempt is over, and what it made."""

    done: tuple[Done, ...] = ()
    """One for each of the job's files when all of it is done."""


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> tuple[Job, Process]:
    """Let a host claim the start of the job it was given."""
    job = _owner(tx, process_id)
    return job, processes.take(tx, process_id, speaker)


def began(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Job:
    """Note that the program lives."""
    job = _owner(tx, process_id)
    process = processes.seen_alive(tx, process_id, speaker, sight)
    if job.status is not JobStatus.queued or process.phase is not Phase.alive:
        return job
    return move(tx, job, JobStatus.running, started_at=job.started_at or tx.now, host=speaker.name)


def said(tx: Tx, process_id: ProcessId, speaker: Speaker, words: Words) -> Process:
    """Store what the program said, its progress, and the offset behind it, in one transaction."""
    job = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if (process.attempt, process.log_offset) != (words.attempt, words.first_byte):
        return process
    processes.store(tx, process, words.lines, seen_at=words.seen_at, end_byte=words.end_byte, report_end=process.report_offset)
    if words.progress is not None and not job.over:
        tx.jobs.save(replace(job, progress=max(job.progress, words.progress), updated_at=tx.now))
    tx.tell(job.id)
    return replace(process, log_offset=words.end_byte)


def freed(tx: Tx, process_id: ProcessId, speaker: Speaker, left: list[int]) -> None:
    """Know that nothing of it lives any more; it holds no GPU."""
    processes.freed(tx, process_id, speaker, left)


def ended(tx: Tx, process_id: ProcessId, speaker: Speaker, ending: Ending, *, backoff: timedelta) -> Job:
    """Settle an attempt: the dataset's next version and the status in one transaction, or the next attempt. It can be repeated."""
    job = _owner(tx, process_id)
    process = processes.held(tx, process_id, speaker)
    if process.phase is Phase.over or process.attempt != ending.attempt:
        return job
    if job.status is JobStatus.queued and ending.began:
        job = move(tx, job, JobStatus.running, started_at=job.started_at or tx.now, host=speaker.name)
    if job.status is not JobStatus.cancelling and _broken(ending) and process.attempt < MOST_ATTEMPTS:
        return _again(tx, job, process, backoff)
    processes.end(tx, process)
    if job.status is JobStatus.cancelling:
        return move(tx, job, JobStatus.cancelled, finished_at=tx.now)
    if ending.code == 0 and not ending.blind:
        return _succeeded(tx, job, list(ending.done))
    said = excerpt(tx.logs.last(job.id))
    failure = Failure(failure_class=_blamed(ending), reason=_reason(ending, said), evidence=ending.evidence(), log_excerpt=said)
    return move(tx, job, JobStatus.failed, finished_at=tx.now, failure=failure)


def _succeeded(tx: Tx, job: Job, done: list[Done]) -> Job:
    """Give the dataset its next version; it fails, and changes nothing, when somebody has taken one of the files back meanwhile."""
    try:
        dataset = datasets.deidentified(tx, job.dataset_id, [_made(job, each) for each in done])
    except Conflict as changed:
        failure = Failure(failure_class=FailureClass.bad_input, reason=changed.detail)
        return move(tx, job, JobStatus.failed, finished_at=tx.now, failure=failure, done=done)
    return move(tx, job, JobStatus.succeeded, finished_at=tx.now, progress=1.0, done=done, version=dataset.version)


def _made(job: Job, done: Done) -> tuple[UploadId, Kept, Deidentified]:
    kept = Kept(name=done.name, sha256=done.sha256, stored_name=done.stored_name, size_bytes=done.bytes)
    how = Deidentified(
        policy_id=job.policy_id, policy_revision=job.policy_revision, key_id=job.key_id, job_id=job.id, source=done.upload_id
    )
    return done.upload_id, kept, how


def _again(tx: Tx, job: Job, process: Process, after: timedelta) -> Job:
    words = (
        f"意外中断，稍后从断点继续 it broke off; attempt {process.attempt + 1} goes on from the last chunk in {after.total_seconds():g} s"
    )
    processes.note(tx, process, words, level="WARNING")
    processes.again(tx, process, after=after, folder=process.folder)
    again = job.again(tx.now)
    tx.jobs.save_again(again)
    record(tx, "job.retried", job.id, dataset=job.dataset_id, attempt=again.attempt)
    tx.tell(job.id)
    return again


def _broken(ending: Ending) -> bool:
    """Whether it was cut off, and did not end by its own will."""
    if ending.refusal is not None:
        return ending.passing
    return ending.exit is None or ending.exit.signal is not None


def _blamed(ending: Ending) -> FailureClass:
    if ending.cause is not None and ending.cause.out_of_memory:
        return FailureClass.out_of_memory
    if ending.code is None:
        return ending.blame
    return FailureClass.bad_input if ending.code == BAD_INPUT else FailureClass.platform


def _reason(ending: Ending, said: list[str]) -> str:
    if ending.refusal is not None:
        return ending.refusal
    if ending.blind:
        return "平台故障 what it made cannot be taken over, for Tuneyard itself is broken there: the log of the host's worker tells more"
    if ending.cause is not None:
        return ending.cause.reason
    if ending.code is None:
        return "the program was killed again and again; its host's log may tell by whom"
    return said[-1] if said else f"the program exited with code {ending.code}"


BAD_INPUT = 2
"""Exit code of a program that cannot use what it was given; its last line says why."""


def _owner(tx: Tx, process_id: ProcessId) -> Job:
    process = tx.processes.get(process_id)
    job = tx.jobs.lock(JobId(process.owner_id)) if process else None
    if job is None:
        message = f"there is no job with a process {process_id}"
        raise NotFound(message, process=process_id)
    return job
