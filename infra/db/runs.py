"""Runs, their metrics and their artifacts as rows."""

from collections.abc import Iterable

from sqlalchemy import String, bindparam, cast, func, literal_column, or_, select

from domain.errors import Conflict
from domain.ids import ArtifactId, HostName, ProjectId, RunId
from domain.paging import Listing, Page
from domain.runs.artifact import Artifact, TagName
from domain.runs.run import TERMINAL, Metric, Run, RunStatus, RunSummary, may_precede
from infra.db.blobs import pin
from infra.db.driver import fixed
from infra.db.rows import Rows, taken, updating
from infra.db.tables import ARTIFACTS, METRICS, PROJECTS, RESUMED, RUN_SUMMARIES, RUNS, UNSUMMED

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
_RESUMED = fixed(
    _SUMMARIES.where(RESUMED, _C.resumed_from.in_(select(ARTIFACTS.c.id).where(ARTIFACTS.c.run_id == bindparam("run")))).order_by(
        _C.created_at, _C.id
    )
)
_COUNT = fixed(select(func.count()).where(_C.project_id == bindparam("project")))
_NO_MANIFEST = literal_column("'[]'", ARTIFACTS.c.manifest.type)
_LISTED = [_NO_MANIFEST if column is ARTIFACTS.c.manifest else column for column in ARTIFACTS.columns]
"""A manifest may have thousands of lines; only one artifact at a time shows its own."""
_ARTIFACTS_OF = fixed(select(*_LISTED).where(ARTIFACTS.c.run_id == bindparam("run")).order_by(ARTIFACTS.c.created_at, ARTIFACTS.c.id))
_ARTIFACT = fixed(select(*ARTIFACTS.columns).where(ARTIFACTS.c.run_id == bindparam("run"), ARTIFACTS.c.id == bindparam("artifact")))
_ARTIFACT_BY_ID = fixed(select(*_LISTED).where(ARTIFACTS.c.id == bindparam("key")))
_TAGGED = select(*_LISTED).where(ARTIFACTS.c.project_id == bindparam("project"), cast(ARTIFACTS.c.tags, String).like(bindparam("like")))
_UNSUMMED_ARTIFACTS = fixed(
    select(*_LISTED)
    .join(RUNS.table, _C.id == ARTIFACTS.c.run_id)
    .where(UNSUMMED, or_(_C.host == bindparam("host"), _C.host.is_(None)), or_(*(_C.status == over for over in TERMINAL)))
    .order_by(ARTIFACTS.c.created_at.desc())
    .limit(bindparam("size"))
)
_NAMED = fixed(select(_C.id).where(_C.project_id == bindparam("project"), _C.name == bindparam("name")))
_SAVE = {status: updating(RUNS.table, or_(*(_C.status == before for before in may_precede(status)))) for status in RunStatus}
_SAVE_AGAIN = updating(RUNS.table, *(_C.status != over for over in TERMINAL), _C.attempt < bindparam("next_attempt"))
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
        """Insert, and pin what it reads; Conflict when the name is in use."""
        with taken(f"the project already has a run named {run.name}", run=run.name):
            self.insert(run)
        pin(self.connection, [pinned.path for pinned in run.inputs.values() if pinned.sha256])

    def save(self, run: Run) -> None:
        """Write it over a row that has not gone further: a status never moves backwards."""
        if not self.write(run, _SAVE[run.status]):
            message = f"run {run.id} has meanwhile gone further than {run.status}"
            raise Conflict(message, run=run.id)

    def save_again(self, run: Run) -> None:
        """Write it over a living row of an earlier attempt."""
        if not self.write(run, _SAVE_AGAIN, next_attempt=run.attempt):
            message = f"run {run.id} is over, or has had attempt {run.attempt} already"
            raise Conflict(message, run=run.id)

    def resumed_from(self, run_id: RunId) -> list[RunSummary]:
        """By the index of those few that were resumed at all."""
        return RunSummaryRows(self.connection).many(_RESUMED, run=run_id)

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
        """Oldest first, without their manifests."""
        return self.many(_ARTIFACTS_OF, run=run_id)

    def unsummed(self, host: HostName, limit: int) -> list[Artifact]:
        """By an index of those alone, however many others there are."""
        return self.many(_UNSUMMED_ARTIFACTS, host=host, size=limit)

    def put(self, artifact: Artifact) -> None:
        """Insert, or write over itself."""
        self.upsert([artifact])

    def find(self, artifact_id: ArtifactId) -> Artifact | None:
        """By its key."""
        return self.one(_ARTIFACT_BY_ID, key=artifact_id)

    def tagged(self, project_id: ProjectId, tag: TagName) -> list[Artifact]:
        """By the text of their tags, then by the tags."""
        found = self.many(_TAGGED, project=project_id, like=f'%"{tag}"%')
        return [each for each in found if any(given.tag is tag for given in each.tags)]

    def in_project(self, project_id: ProjectId, artifact_id: str) -> Artifact | None:
        """One of this project's."""
        c = ARTIFACTS.c
        return self.one(select(*ARTIFACTS.columns).where(c.project_id == project_id, c.id == artifact_id))

    def get(self, run_id: RunId, artifact_id: str) -> Artifact | None:
        """One of this run's."""
        return self.one(_ARTIFACT, run=run_id, artifact=artifact_id)
