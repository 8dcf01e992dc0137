"""What jobs need from the world."""

from typing import Protocol

from domain.ids import DatasetId, JobId
from domain.jobs.job import Job
from domain.paging import Listing, Page


class Jobs(Protocol):
    """The jobs."""

    def get(self, job_id: JobId) -> Job | None:
        """As it stands."""
        ...

    def lock(self, job_id: JobId) -> Job | None:
        """As `get`, and nobody else changes it until the transaction ends."""
        ...

    def add(self, job: Job) -> None:
        """Keep a new one."""
        ...

    def save(self, job: Job) -> None:
        """Keep a changed one; Conflict when the row has meanwhile gone further."""
        ...

    def save_again(self, job: Job) -> None:
        """Keep one that begins its next attempt; Conflict when it is over, or has begun that attempt already."""
        ...

    def page(self, dataset_id: DatasetId | None, page: Page) -> Listing[Job]:
        """Newest first, of one dataset or of all."""
        ...


class HasJobs(Protocol):
    """A transaction that reaches jobs."""

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        ...
