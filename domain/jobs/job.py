"""A job is one piece of work on the files of a dataset; the table below, and `again`, are all that it may do."""

from datetime import datetime
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import Conflict
from domain.ids import DatasetId, HostName, JobId, UploadId
from domain.processes.failure import Failure
from domain.words import Word


class JobStatus(Word):
    """Where a job stands."""

    queued = ("queued", "排队中", "Queued")
    running = ("running", "运行中", "Running")
    cancelling = ("cancelling", "取消中", "Cancelling")
    succeeded = ("succeeded", "已完成", "Succeeded")
    failed = ("failed", "失败", "Failed")
    cancelled = ("cancelled", "已取消", "Cancelled")


NEXT = {
    JobStatus.queued: {JobStatus.running, JobStatus.cancelling, JobStatus.cancelled, JobStatus.failed},
    JobStatus.running: {JobStatus.cancelling, JobStatus.succeeded, JobStatus.failed},
    JobStatus.cancelling: {JobStatus.cancelled},
    JobStatus.succeeded: set[JobStatus](),
    JobStatus.failed: set[JobStatus](),
    JobStatus.cancelled: set[JobStatus](),
}
TERMINAL = frozenset(status for status, following in NEXT.items() if not following)


def may_precede(status: JobStatus) -> list[JobStatus]:
    """Return every status a row may hold for this one to be written over it."""
    return [status, *(before for before, following in NEXT.items() if status in following)]


class BadLines(Word):
    """What becomes of lines that cannot be read: broken JSON, bytes that are no UTF-8, lines without an end."""

    quarantine = ("quarantine", "隔离", "Quarantine")
    fail = ("fail", "失败", "Fail")


class NewDeidentification(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say about taking personal data out of a dataset."""

    policy_id: str = "default"
    seed: int | None = None
    """Makes surrogates that no other seed makes; without one they are those of the policy and the key alone."""
    bad_lines: BadLines = BadLines.quarantine
    """Set aside, with their numbers; or the whole job fails at the first."""
    files: list[UploadId] | None = None
    """Only these of the dataset's files."""


class Source(Struct, frozen=True, kw_only=True):
    """One file to work on: the very bytes, whatever becomes of its name."""

    upload_id: UploadId
    name: str
    sha256: str
    stored_name: str
    bytes: int


class Done(Struct, frozen=True, kw_only=True):
    """What became of one file; the report holds counts and numbers of lines, never what was found."""

    upload_id: UploadId
    name: str
    lines: int
    changed_lines: int
    found: dict[str, dict[str, int]]
    """Type → field → how many."""
    bad_lines: int
    bad_line_numbers: list[int]
    """The first of them, from 1."""
    quarantine: str | None
    """Where they lie, below the training directory; None when there is none."""
    source_sha256: str
    sha256: str
    """Of what came out: the source's own where nothing had to be changed."""
    stored_name: str
    bytes: int


class Job(Struct, frozen=True, kw_only=True):
    """One piece of work: what was asked, and what became of it."""

    id: JobId
    dataset_id: DatasetId
    status: JobStatus
    attempt: int = 1
    progress: float = 0.0
    """0 to 1, by the bytes that are done."""
    policy_id: str
    policy_revision: str
    policy: str
    """The policy's text, frozen: what becomes of its file later changes nothing."""
    key_id: str
    """The key that the surrogates are made with; `test` on a server without one."""
    seed: int | None = None
    bad_lines: BadLines
    sources: list[Source]
    done: list[Done] = []
    """The report; complete once it has succeeded."""
    version: int | None = None
    """The version of the dataset that it made."""
    host: HostName | None = None
    failure: Failure | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def to(self, status: JobStatus, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return the job one step later; Conflict if it may not take that step."""
        if status not in NEXT[self.status]:
            message = f"a job that is {self.status} cannot become {status}"
            raise Conflict(message, job=self.id)
        return replace(self, status=status, updated_at=at, **facts)

    def again(self, at: datetime) -> Self:
        """Return the job queued for its next attempt: the one way back, and the attempt goes up."""
        if self.over or self.status is JobStatus.cancelling:
            message = f"a job that is {self.status} has no further attempt"
            raise Conflict(message, job=self.id)
        return replace(self, status=JobStatus.queued, attempt=self.attempt + 1, host=None, updated_at=at)

    @property
    def over(self) -> bool:
        """Whether it has ended, for good."""
        return self.status in TERMINAL

    @property
    def folder(self) -> str:
        """Everything of this job on disk, below the training directory."""
        return folder_of(self.id)


def folder_of(job_id: JobId) -> str:
    """Where a job's files lie, below the training directory."""
    return f"jobs/{job_id}"
