"""Runs, their metrics and their artifacts as rows."""

from collections.abc import Iterable

from sqlalchemy import bindparam, func, or_, select

from domain.errors import Conflict
from domain.ids import ProjectId, RunId
from domain.paging import Listing, Page
from domain.runs.artifact import Artifact
from domain.runs.run import Metric, Run, RunStatus, RunSummary, may_precede
from infra.db.driver import fixed
from infra.db.rows import Rows, taken, updating
from infra.db.tables import ARTIFACTS, METRICS, PROJECTS, RUN_SUMMARIES, RUNS

_C = RUNS.c
_P = PROJECTS.c
_ALL = select(*RUNS.columns)
_SUMMARIES = select(*RUN_SUMMARIES.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_BY_REFS = fixed(
    _ALL.join(PROJECTS.table, _P.id == _C.project_id).where(
        or_(_P.id == bindparam("project"), _P.name == bindparam("project")), or_(_C.id == bindparam("ref"), _C.name == bindparam("ref"))
    )
)
_OF_PROJECT = _SUMMARIES.where(_C.project_id == bindparam("project")).order_by(_C.created_at.desc(), _C.id.desc())
_NEWEST = fixed(_OF_PROJECT.limit(bindparam("size")).offset(bindparam("offset")))
_COUNT = fixed(select(func.count()).where(_C.project_id == bindparam("project")))
_ARTIFACTS_OF = fixed(
    select(*ARTIFACTS.columns).where(ARTIFACTS.c.run_id == bindparam("run")).order_by(ARTIFACTS.c.created_at, ARTIFACTS.c.id)
)
_NAMED = fixed(select(_C.id).where(_C.project_id == bindparam("project"), _C.name == bindparam("name")))
_SAVE = {status: updating(RUNS.table, or_(*(_C.status == before for before in may_precede(status)))) for status in RunStatus}
_LOCKED = fixed(_BY_ID.with_for_update())


class RunSummaryRows(Rows[RunSummary]):
    """What a list shows of the runs."""

    stored = RUN_SUMMARIES


class RunRows(Rows[Run]):
    """The port `Runs`."""

    stored = RUNS

    def find(self, project_ref: str, ref: str) -> Run | None:
        """By ids or names."""
        return self.one(_BY_REFS, project=project_ref, ref=ref)

    def get(self, run_id: RunId) -> Run | None:
        """By id."""
        return self.one(_BY_ID, key=run_id)

    def lock(self, run_id: RunId) -> Run | None:
        """By id, locked."""
        return self.one(_LOCKED, key=run_id)

    def name_taken(self, project_id: ProjectId, name: str) -> bool:
        """Whether a row says so."""
        return self.connection.execute(_NAMED, {"project": project_id, "name": name}).first() is not None

    def add(self, run: Run) -> None:
        """Insert; Conflict when the name is in use."""
        with taken(f"the project already has a run named {run.name}", run=run.name):
            self.insert(run)

    def save(self, run: Run) -> None:
        """Write it over a row that has not gone further: a status never moves backwards."""
        if not self.write(run, _SAVE[run.status]):
            message = f"run {run.id} has meanwhile gone further than {run.status}"
            raise Conflict(message, run=run.id)

    def page(self, project_id: ProjectId, status: RunStatus | None, page: Page) -> Listing[RunSummary]:
        """Newest first."""
        rows = RunSummaryRows(self.connection)
        if status is not None:
            return rows.listing(_OF_PROJECT.where(_C.status == status), page, project=project_id)
        total = self.connection.scalar(_COUNT, {"project": project_id}) or 0
        return Listing(rows.many(_NEWEST, project=project_id, size=page.size, offset=page.offset), total)


class MetricRows(Rows[Metric]):
    """The port `Metrics`."""

    stored = METRICS

    def add(self, metrics: Iterable[Metric]) -> None:
        """Append."""
        self.insert_all(metrics)

    def last_step(self, run_id: RunId) -> int | None:
        """The highest step."""
        step: int | None = self.connection.scalar(select(func.max(METRICS.c.step)).where(METRICS.c.run_id == run_id))
        return step

    def history(self, run_id: RunId, name: str | None, since_step: int | None, limit: int) -> list[Metric]:
        """In the order they were reported."""
        c = METRICS.c
        statement = select(*METRICS.columns).where(c.run_id == run_id).order_by(c.row).limit(limit)
        if name is not None:
            statement = statement.where(c.name == name)
        if since_step is not None:
            statement = statement.where(c.step >= since_step)
        return self.many(statement)


class ArtifactRows(Rows[Artifact]):
    """The port `Artifacts`."""

    stored = ARTIFACTS

    def of(self, run_id: RunId) -> list[Artifact]:
        """Oldest first."""
        return self.many(_ARTIFACTS_OF, run=run_id)

    def put(self, artifact: Artifact) -> None:
        """Insert, or write over itself."""
        self.upsert([artifact])

    def in_project(self, project_id: ProjectId, artifact_id: str) -> Artifact | None:
        """One of this project's."""
        c = ARTIFACTS.c
        return self.one(select(*ARTIFACTS.columns).where(c.project_id == project_id, c.id == artifact_id))

    def get(self, run_id: RunId, artifact_id: str) -> Artifact | None:
        """One of this run's."""
        return self.one(_ARTIFACTS_OF.where(ARTIFACTS.c.id == bindparam("artifact")), run=run_id, artifact=artifact_id)
