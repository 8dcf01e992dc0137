"""Projects over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Protocol

from litestar import Controller, Request, Response, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Struct, UnsetType
from msgspec.structs import asdict

from api.provide import Caller, TheCaller, WantedPage, paged
from domain.ids import RunId
from domain.paging import Page
from domain.projects import actions
from domain.projects.ports import ProjectFilter
from domain.projects.project import Project, ProjectChanges, ProjectCreate, ProjectStatus, ProjectSummary, ProjectVersion
from domain.runs import queries
from domain.runs.run import RunStatus, RunSummary


class ProjectListed(ProjectSummary, frozen=True, kw_only=True):
    """A project as the list shows it."""

    status_label: str


class RunMention(Struct, frozen=True, kw_only=True):
    """A run as its project mentions it."""

    id: RunId
    name: str
    status: RunStatus
    status_label: str
    progress: float
    started_at: datetime | None


class VersionMention(Struct, frozen=True, kw_only=True):
    """One step in the project's history."""

    number: int
    at: datetime
    by: str
    changes: dict[str, Any]


class ProjectDetail(Project, frozen=True, kw_only=True):
    """A project with its history and its newest runs."""

    status_label: str
    versions: list[VersionMention]
    runs: list[RunMention]


class ProjectController(Controller):
    """What people may do to projects."""

    path = "/projects"
    tags = ("projects",)

    @post()
    async def create_project(self, caller: TheCaller, data: JSONBody[ProjectCreate]) -> ProjectDetail:
        """Register a training project; only the name is required."""
        _require_policy(caller, data.deid_policy)
        project, version = await caller.db.run(actions.create, data)
        return _shown(project, [version], [], caller.language)

    @get()
    async def list_projects(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        wanted_page: WantedPage,
        status: Annotated[ProjectStatus | None, QueryParameter(description="Code or label.")] = None,
        tag: Annotated[str | None, QueryParameter(description="One of the project's tags.")] = None,
        owner: Annotated[str | None, QueryParameter(description="The project's owner.")] = None,
        q: Annotated[str | None, QueryParameter(description="Part of the name or description.")] = None,
    ) -> Response[list[ProjectListed]]:
        """List projects, newest first; `X-Total-Count` and `Link` lead through the pages."""
        wanted = ProjectFilter(status=status, tag=tag, owner=owner, q=q)
        found = await caller.db.read(actions.list_projects, wanted, wanted_page)
        return paged(request, found, wanted_page, [_listed(project, caller.language) for project in found.items])

    @get("/{ref:str}")
    async def get_project(self, caller: TheCaller, ref: FromPath[str]) -> ProjectDetail:
        """Show a project, by id or name, with its history and runs."""
        return _shown(*await caller.db.read(_whole, ref), caller.language)

    @patch("/{ref:str}")
    async def change_project(self, caller: TheCaller, ref: FromPath[str], data: JSONBody[ProjectChanges]) -> ProjectDetail:
        """Change a project's configuration, which writes a new version; `status: archived` archives it."""
        _require_policy(caller, data.deid_policy)
        project = await caller.db.run(actions.change, ref, data)
        return _shown(*await caller.db.read(_whole, project.id), caller.language)


def _require_policy(caller: Caller, policy: str | UnsetType | None) -> None:
    """NotFound, with those that there are, unless it is a policy."""
    if isinstance(policy, str):
        caller.world.deid.shelf.get(policy)


def _shown(project: Project, versions: list[ProjectVersion], runs: list[RunSummary], language: str) -> ProjectDetail:
    return ProjectDetail(
        **asdict(project),
        status_label=project.status.label(language),
        versions=[VersionMention(number=each.number, at=each.at, by=each.by, changes=each.changes) for each in versions],
        runs=[_mention(run, language) for run in runs],
    )


class _Tx(actions.Tx, queries.Tx, Protocol):
    """What the detail of a project touches."""


def _whole(tx: _Tx, ref: str) -> tuple[Project, list[ProjectVersion], list[RunSummary]]:
    project = actions.get(tx, ref)
    return project, tx.projects.versions(project.id), tx.runs.page(project.id, None, Page()).items


def _listed(project: ProjectSummary, language: str) -> ProjectListed:
    return ProjectListed(
        id=project.id,
        name=project.name,
        status=project.status,
        status_label=project.status.label(language),
        owner=project.owner,
        created_at=project.created_at,
    )


def _mention(run: RunSummary, language: str) -> RunMention:
    return RunMention(
        id=run.id,
        name=run.name,
        status=run.status,
        status_label=run.status.label(language),
        progress=run.progress,
        started_at=run.started_at,
    )
