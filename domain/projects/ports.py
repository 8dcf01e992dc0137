"""What projects need from the world."""

from typing import Protocol

from msgspec import Struct

from domain.ids import ProjectId
from domain.paging import Listing, Page
from domain.projects.project import Project, ProjectStatus, ProjectSummary, ProjectVersion


class ProjectFilter(Struct, frozen=True, kw_only=True):
    """Which projects a list shows; what is None does not matter."""

    status: ProjectStatus | None = None
    tag: str | None = None
    owner: str | None = None
    q: str | None = None
    """Part of the name or description, whatever the case."""


class Projects(Protocol):
    """The projects."""

    def find(self, ref: str) -> Project | None:
        """By id or by name."""
        ...

    def lock(self, ref: str) -> Project | None:
        """As `find`, and nobody else changes it until the transaction ends."""
        ...

    def add(self, project: Project) -> None:
        """Keep a new one; Conflict when the name is in use."""
        ...

    def save(self, project: Project) -> None:
        """Keep a changed one; Conflict when the name is in use."""
        ...

    def count_run(self, ref: str) -> Project | None:
        """Count one more run of the project of that id or name, and lock it; its `run_count` is the new run's number."""
        ...

    def page(self, wanted: ProjectFilter, page: Page) -> Listing[ProjectSummary]:
        """Newest first."""
        ...

    def add_version(self, version: ProjectVersion) -> None:
        """Append to the history."""
        ...

    def versions(self, project_id: ProjectId) -> list[ProjectVersion]:
        """The history, oldest first."""
        ...


class HasProjects(Protocol):
    """A transaction that reaches projects."""

    @property
    def projects(self) -> Projects:
        """The projects."""
        ...
