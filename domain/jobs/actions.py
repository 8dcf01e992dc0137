"""What people may do with jobs: order one, look at it, cancel it."""

from datetime import timedelta
from typing import Any, Protocol

from msgspec import Struct

from domain.database import Transaction
from domain.datasets import actions as datasets
from domain.datasets.dataset import Upload
from domain.datasets.ports import HasDatasets
from domain.errors import Conflict, Flaw, Invalid, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.ids import JobId, ProcessId, new_id
from domain.jobs.job import Job, JobStatus, NewDeidentification, Source
from domain.jobs.ports import HasJobs
from domain.paging import Listing, Page
from domain.processes import actions as processes
from domain.processes.ports import HasProcesses
from domain.processes.process import OwnerKind, Phase, Process, Resources


class Tx(Transaction, HasJobs, HasDatasets, HasProcesses, HasHosts, HasEvents, Protocol):
    """What the actions on jobs may touch."""


class Frozen(Struct, frozen=True, kw_only=True):
    """What a job is launched with, whatever changes later."""

    policy_revision: str
    policy: str
    """Its text."""
    key_id: str
    folder: str
    """The id of the training folder that holds the files."""


def deidentify(tx: Tx, ref: str, asked: NewDeidentification, frozen: Frozen) -> Job:
    """Order that personal data be taken out of a dataset's files: the rows of the job and its process are the order."""
    dataset, uploads = datasets.files(tx, ref)
    sources = [_source(each) for each in _wanted(dataset.name, uploads, asked)]
    job = Job(
        id=JobId(new_id("job_")),
        dataset_id=dataset.id,
        status=JobStatus.queued,
        policy_id=asked.policy_id,
        policy_revision=frozen.policy_revision,
        policy=frozen.policy,
        key_id=frozen.key_id,
        seed=asked.seed,
        bad_lines=asked.bad_lines,
        sources=sources,
        created_at=tx.now,
        updated_at=tx.now,
    )
    tx.jobs.add(job)
    tx.processes.add(_process(job, frozen.folder))
    record(tx, "job.ordered", job.id, dataset=dataset.id, policy=job.policy_id, revision=job.policy_revision, files=len(sources))
    tx.place_later()
    return job


def get(tx: Tx, job_id: str) -> Job:
    """Return the job of that id; NotFound otherwise."""
    job = tx.jobs.get(JobId(job_id))
    if job is None:
        raise _unknown(job_id)
    return job


def list_jobs(tx: Tx, ref: str | None, page: Page) -> Listing[Job]:
    """Jobs, newest first; only those of the dataset of that id or name, where one is named."""
    return tx.jobs.page(datasets.get(tx, ref).id if ref else None, page)


def cancel(tx: Tx, job_id: str, *, grace: timedelta) -> Job:
    """Ask a job to stop; the dataset stays as it was. Repeating it is a no-op."""
    job = tx.jobs.lock(JobId(job_id))
    if job is None:
        raise _unknown(job_id)
    if job.status in (JobStatus.cancelled, JobStatus.cancelling):
        return job
    if job.over:
        message = f"job {job.id} has {job.status} already; there is nothing to cancel"
        raise Conflict(message, job=job.id)
    process = processes.stop(tx, processes.locked_of(tx, job.id), grace=grace)
    if process.phase is Phase.over:
        return move(tx, job, JobStatus.cancelled, finished_at=tx.now)
    return move(tx, job, JobStatus.cancelling)


def move(tx: Tx, job: Job, status: JobStatus, **facts: object) -> Job:
    """Take the job one step on, with its event."""
    moved = job.to(status, tx.now, **facts)
    tx.jobs.save(moved)
    data: dict[str, Any] = {"from": job.status, "to": status, "attempt": moved.attempt, "host": moved.host, "dataset": job.dataset_id}
    if moved.failure:
        data |= {"class": moved.failure.failure_class, "reason": moved.failure.reason}
    record(tx, f"job.{status}", job.id, **data)
    tx.tell(job.id)
    return moved


def _wanted(name: str, uploads: list[Upload], asked: NewDeidentification) -> list[Upload]:
    if asked.files is None:
        found = uploads
    else:
        found = [each for each in uploads if each.id in asked.files]
        if unknown := [each for each in asked.files if each not in {upload.id for upload in uploads}]:
            flaws = [Flaw("files", f"dataset {name} has no file with the upload_id {each}") for each in unknown]
            message = "; ".join(flaw.message for flaw in flaws)
            raise Invalid(message, flaws)
    if not found:
        message = f"dataset {name} has no files to de-identify; upload one first"
        raise Conflict(message)
    return found


def _source(upload: Upload) -> Source:
    return Source(upload_id=upload.id, name=upload.name, sha256=upload.sha256, stored_name=upload.stored_name, bytes=upload.bytes)


def _process(job: Job, folder: str) -> Process:
    return Process(
        id=ProcessId(new_id("proc_")),
        owner_id=job.id,
        owner_kind=OwnerKind.job,
        phase=Phase.waiting,
        argv=[],
        executor="local",
        resources=Resources(gpu_count=0),
        folder=folder,
        created_at=job.created_at,
        updated_at=job.created_at,
    )


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}", job=job_id)
