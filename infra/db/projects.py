"""Projects and their history as rows."""

from sqlalchemy import bindparam, func, or_, select, update

from domain.ids import ProjectId
from domain.paging import Listing, Page
from domain.projects.ports import ProjectFilter
from domain.projects.project import Project, ProjectSummary, ProjectVersion
from infra.db.driver import fixed
from infra.db.rows import Rows, taken
from infra.db.tables import PROJECT_SUMMARIES, PROJECTS, VERSIONS
from infra.db.text import contains

_C = PROJECTS.c
_ALL = select(*PROJECTS.columns)
_SUMMARIES = select(*PROJECT_SUMMARIES.columns)
_BY_REF = fixed(_ALL.where(or_(_C.id == bindparam("ref"), _C.name == bindparam("ref"))))
_LOCKED = fixed(_BY_REF.with_for_update())
_COUNT_RUN = fixed(
    update(PROJECTS.table)
    .where(or_(_C.id == bindparam("ref"), _C.name == bindparam("ref")))
    .values(run_count=_C.run_count + 1)
    .returning(*PROJECTS.columns)
)
_VERSIONS_OF = fixed(select(*VERSIONS.columns).where(VERSIONS.c.project_id == bindparam("project")).order_by(VERSIONS.c.number))
_NEWEST = fixed(_SUMMARIES.order_by(_C.created_at.desc(), _C.id.desc()).limit(bindparam("size")).offset(bindparam("offset")))
_COUNT = fixed(select(func.count()).select_from(PROJECTS.table))


class VersionRows(Rows[ProjectVersion]):
    """Steps in the projects' histories."""

    stored = VERSIONS


class ProjectSummaryRows(Rows[ProjectSummary]):
    """What a list shows of the projects."""

    stored = PROJECT_SUMMARIES


class ProjectRows(Rows[Project]):
    """The port `Projects`."""

    stored = PROJECTS

    def find(self, ref: str) -> Project | None:
        """By id or by name."""
        return self.one(_BY_REF, ref=ref)

    def lock(self, ref: str) -> Project | None:
        """By id or by name, locked."""
        return self.one(_LOCKED, ref=ref)

    def add(self, project: Project) -> None:
        """Insert; Conflict when the name is in use."""
        with taken(f"a project named {project.name} already exists", project=project.name):
            self.insert(project)

    def save(self, project: Project) -> None:
        """Update; Conflict when the name is in use."""
        with taken(f"a project named {project.name} already exists", project=project.name):
            self.write(project)

    def count_run(self, ref: str) -> Project | None:
        """Count one more run, in the statement that locks the project."""
        row = self.connection.execute(_COUNT_RUN, {"ref": ref}).first()
        return None if row is None else self.stored.struct_of(row)

    def page(self, wanted: ProjectFilter, page: Page) -> Listing[ProjectSummary]:
        """Newest first."""
        rows = ProjectSummaryRows(self.connection)
        if wanted == ProjectFilter():
            return Listing(rows.many(_NEWEST, size=page.size, offset=page.offset), self.connection.scalar(_COUNT) or 0)
        statement = _SUMMARIES.order_by(_C.created_at.desc(), _C.id.desc())
        if wanted.status is not None:
            statement = statement.where(_C.status == wanted.status)
        if wanted.owner is not None:
            statement = statement.where(_C.owner == wanted.owner)
        if wanted.tag is not None:
            statement = statement.where(contains(_C.tags, wanted.tag, self.connection.dialect.name))
        if wanted.q is not None:
            part = wanted.q.lower()
            statement = statement.where(or_(*(func.lower(column).contains(part, autoescape=True) for column in (_C.name, _C.description))))
        return rows.listing(statement, page)

    def add_version(self, version: ProjectVersion) -> None:
        """Append to the history."""
        VersionRows(self.connection).insert(version)

    def versions(self, project_id: ProjectId) -> list[ProjectVersion]:
        """Oldest first."""
        return VersionRows(self.connection).many(_VERSIONS_OF, project=project_id)
