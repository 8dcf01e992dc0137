"""A project names a dataset, a config and defaults; each change of these is a version that stays readable."""

from datetime import datetime
from typing import Any, Self

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from domain.errors import Conflict, Flaw, Invalid
from domain.ids import ProjectId, looks_like_id
from domain.training.watch import Watch
from domain.words import Word


class ProjectStatus(Word):
    """Where a project stands."""

    draft = ("draft", "草稿", "Draft")
    active = ("active", "启用", "Active")
    archived = ("archived", "已归档", "Archived")


class ExecutorName(Word):
    """How a project's trainings are executed."""

    docker = ("docker", "容器", "Docker")
    local = ("local", "本机进程", "Local process")


class ProjectCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say about a new project; only the name is required."""

    name: str
    description: str | None = None
    objective: str | None = None
    task_type: str | None = None
    """`sft`, `rl`, `lora`, `pretrain`, or a free text such as 文本摘要, kept as given."""
    base_model: str | None = None
    owner: str | None = None
    tags: list[str] = []
    default_hyperparameters: dict[str, Any] = {}
    dataset_name: str | None = None
    training_yaml_name: str | None = None
    status: ProjectStatus | None = None
    executor: ExecutorName | None = None
    deid_policy: str | None = None
    """The policy by which its data must have been de-identified; None: it need not be."""
    watch: Watch = Watch()
    """What to watch for while its trainings run."""


class ProjectChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PATCH: what is absent stays, null clears what may be empty."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    objective: str | UnsetType | None = UNSET
    task_type: str | UnsetType | None = UNSET
    base_model: str | UnsetType | None = UNSET
    owner: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    default_hyperparameters: dict[str, Any] | UnsetType = UNSET
    dataset_name: str | UnsetType | None = UNSET
    training_yaml_name: str | UnsetType | None = UNSET
    status: ProjectStatus | UnsetType = UNSET
    executor: ExecutorName | UnsetType | None = UNSET
    deid_policy: str | UnsetType | None = UNSET
    watch: Watch | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """Return only what the caller said."""
        return {field: value for field, value in asdict(self).items() if value is not UNSET}


class Project(Struct, frozen=True, kw_only=True):
    """What a team wants to train."""

    id: ProjectId
    name: str
    description: str | None = None
    objective: str | None = None
    task_type: str | None = None
    base_model: str | None = None
    owner: str | None = None
    tags: list[str] = []
    default_hyperparameters: dict[str, Any] = {}
    dataset_name: str | None = None
    training_yaml_name: str | None = None
    status: ProjectStatus
    executor: ExecutorName | None = None
    deid_policy: str | None = None
    watch: Watch = Watch()
    version: int = 1
    run_count: int = 0
    created_at: datetime
    updated_at: datetime

    @classmethod
    def born(cls, asked: ProjectCreate, project_id: ProjectId, at: datetime) -> Self:
        """Make the project a caller asked for: `active` with a dataset and a config, else `draft` until it has both."""
        fields = asdict(asked)
        fields["status"] = asked.status or ProjectStatus.draft
        project = cls(id=project_id, created_at=at, updated_at=at, **fields)
        if asked.status is None and project.complete:
            project = replace(project, status=ProjectStatus.active)
        require_valid(project)
        return project

    def changed(self, changes: ProjectChanges, at: datetime) -> Self:
        """Return the next version; the same project when nothing differs."""
        given = {field: value for field, value in changes.given().items() if value != getattr(self, field)}
        if not given:
            return self
        project = replace(self, **given, version=self.version + 1, updated_at=at)
        if changes.status is UNSET and project.status is ProjectStatus.draft and project.complete and not self.complete:
            project = replace(project, status=ProjectStatus.active)
        require_valid(project)
        return project

    @property
    def complete(self) -> bool:
        """Whether it names a dataset and a config."""
        return bool(self.dataset_name and self.training_yaml_name)

    def require_open(self) -> None:
        """Conflict when the project is archived."""
        if self.status is ProjectStatus.archived:
            message = f"project {self.name} is archived and takes no new runs; set its status to active first"
            raise Conflict(message, project=self.id)


class ProjectSummary(Struct, frozen=True, kw_only=True):
    """A project as a list shows it."""

    id: ProjectId
    name: str
    status: ProjectStatus
    owner: str | None
    created_at: datetime


class ProjectVersion(Struct, frozen=True, kw_only=True):
    """One step in a project's history."""

    project_id: ProjectId
    number: int
    at: datetime
    by: str
    changes: dict[str, Any]
    """field → [before, after]; for the first version, what was given → [null, value]."""


LONGEST_NAME = 200
"""Characters: a name is shown in lists, in paths of URLs and in messages."""


def difference(before: Project | None, after: Project) -> dict[str, Any]:
    """What a version changed: field → [before, after]."""
    unchanging = {"id", "created_at", "updated_at", "version", "run_count"}
    old = asdict(before) if before else {}
    return {
        field: [old.get(field), value]
        for field, value in asdict(after).items()
        if field not in unchanging and value != old.get(field) and not (before is None and value in (None, [], {}, Watch()))
    }


def require_valid(project: Project) -> None:
    """Invalid naming every field that cannot be."""
    flaws = list(name_flaws(project.name))
    named = {"dataset_name": project.dataset_name, "training_yaml_name": project.training_yaml_name}
    flaws += [Flaw(field, "may not be empty; leave it out instead") for field, value in named.items() if value == ""]
    if flaws:
        message = "the project is not valid: " + "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)


def name_flaws(name: str) -> list[Flaw]:
    """Return what makes a name of a project or a run unusable: it is part of a URL, and may stand where an id may."""
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME:
        return [Flaw("name", f"must be 1 to {LONGEST_NAME} characters without blanks at the ends")]
    if "/" in name or not name.isprintable() or name in (".", ".."):
        return [Flaw("name", "may not hold slashes or control characters: it is part of a URL")]
    if looks_like_id(name):
        return [Flaw("name", "may not begin like an id (proj_, run_, …), or the two could be mistaken")]
    return []
