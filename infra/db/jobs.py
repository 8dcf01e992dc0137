"""Jobs as rows."""

from sqlalchemy import bindparam, or_, select

from domain.errors import Conflict
from domain.ids import DatasetId, JobId
from domain.jobs.job import TERMINAL, Job, JobStatus, may_precede
from domain.paging import Listing, Page
from infra.db.driver import fixed
from infra.db.rows import Rows, updating
from infra.db.tables import JOBS

_C = JOBS.c
_ALL = select(*JOBS.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_LOCKED = fixed(_BY_ID.with_for_update())
_NEWEST = _ALL.order_by(_C.created_at.desc(), _C.id.desc())
_SAVE = {status: updating(JOBS.table, or_(*(_C.status == before for before in may_precede(status)))) for status in JobStatus}
_SAVE_AGAIN = updating(JOBS.table, *(_C.status != over for over in TERMINAL), _C.attempt < bindparam("next_attempt"))


class JobRows(Rows[Job]):
    """The port `Jobs`."""

    stored = JOBS

    def get(self, job_id: JobId) -> Job | None:
        """By id."""
        return self.one(_BY_ID, key=job_id)

    def lock(self, job_id: JobId) -> Job | None:
        """By id, locked."""
        return self.one(_LOCKED, key=job_id)

    def add(self, job: Job) -> None:
        """Insert."""
        self.insert(job)

    def save(self, job: Job) -> None:
        """Write it over a row that has not gone further."""
        if not self.write(job, _SAVE[job.status]):
            message = f"job {job.id} has meanwhile gone further than {job.status}"
            raise Conflict(message, job=job.id)

    def save_again(self, job: Job) -> None:
        """Write it over a living row of an earlier attempt."""
        if not self.write(job, _SAVE_AGAIN, next_attempt=job.attempt):
            message = f"job {job.id} is over, or has had attempt {job.attempt} already"
            raise Conflict(message, job=job.id)

    def page(self, dataset_id: DatasetId | None, page: Page) -> Listing[Job]:
        """Newest first."""
        return self.listing(_NEWEST if dataset_id is None else _NEWEST.where(_C.dataset_id == dataset_id), page)
