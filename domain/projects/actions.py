"""What people may do to a project: create it, change it, read it."""

from typing import Protocol

from domain.database import Transaction
from domain.errors import NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.ids import ProjectId, new_id
from domain.paging import Listing, Page
from domain.projects.ports import HasProjects, ProjectFilter
from domain.projects.project import Project, ProjectChanges, ProjectCreate, ProjectSummary, ProjectVersion, difference


class Tx(Transaction, HasProjects, HasEvents, Protocol):
    """What the actions on projects may touch."""


def create(tx: Tx, asked: ProjectCreate) -> tuple[Project, ProjectVersion]:
    """Register a project, with the first version of its history; Conflict when the name is in use."""
    project = Project.born(asked, ProjectId(new_id("proj_")), tx.now)
    tx.projects.add(project)
    version = _keep_version(tx, None, project)
    record(tx, "project.created", project.id, project=project.id, name=project.name)
    return project, version


def change(tx: Tx, ref: str, changes: ProjectChanges) -> Project:
    """Change the configuration and write the next version; archiving is a change of status."""
    before = tx.projects.lock(ref)
    if before is None:
        raise unknown(ref)
    after = before.changed(changes, tx.now)
    if after is before:
        return before
    tx.projects.save(after)
    _keep_version(tx, before, after)
    record(tx, "project.changed", after.id, project=after.id, version=after.version, changes=difference(before, after))
    return after


def get(tx: Tx, ref: str) -> Project:
    """Return the project of that id or name; NotFound otherwise."""
    project = tx.projects.find(ref)
    if project is None:
        raise unknown(ref)
    return project


def list_projects(tx: Tx, wanted: ProjectFilter, page: Page) -> Listing[ProjectSummary]:
    """Projects, newest first."""
    return tx.projects.page(wanted, page)


def unknown(ref: str) -> NotFound:
    """Say that there is no such project."""
    return NotFound(f"there is no project with the id or name {ref}", project=ref)


def _keep_version(tx: Tx, before: Project | None, after: Project) -> ProjectVersion:
    version = ProjectVersion(project_id=after.id, number=after.version, at=tx.now, by=tx.actor, changes=difference(before, after))
    tx.projects.add_version(version)
    return version
