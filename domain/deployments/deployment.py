"""A deployment is one model served under a name; the table below, and `again`, are all that it may do."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from msgspec import Meta, Struct
from msgspec.structs import replace

from domain.deployments.health import KEPT, Change
from domain.errors import Conflict
from domain.ids import ArtifactId, DeploymentId, HostName, ProjectId
from domain.processes.attempt import Attempt
from domain.processes.condition import Condition, ConditionName
from domain.processes.failure import Failure
from domain.processes.process import Resources
from domain.words import Word

MOST_FIRST_ATTEMPTS = 3
"""What has never answered is not tried for ever."""
LONGEST_BACKOFF = timedelta(minutes=5)
KEPT_ATTEMPTS = 20
"""The last of those that have ended; a server may be restarted for years."""


class DeploymentStatus(Word):
    """Where a deployment stands."""

    queued = ("queued", "排队中", "Queued")
    starting = ("starting", "启动中", "Starting")
    running = ("running", "运行中", "Running")
    stopping = ("stopping", "停止中", "Stopping")
    stopped = ("stopped", "已停止", "Stopped")
    failed = ("failed", "失败", "Failed")


NEXT = {
    DeploymentStatus.queued: {DeploymentStatus.starting, DeploymentStatus.stopped, DeploymentStatus.failed},
    DeploymentStatus.starting: {DeploymentStatus.running, DeploymentStatus.stopping, DeploymentStatus.failed},
    DeploymentStatus.running: {DeploymentStatus.stopping, DeploymentStatus.failed},
    DeploymentStatus.stopping: {DeploymentStatus.stopped},
    DeploymentStatus.stopped: set[DeploymentStatus](),
    DeploymentStatus.failed: set[DeploymentStatus](),
}
TERMINAL = frozenset(status for status, following in NEXT.items() if not following)


def may_precede(status: DeploymentStatus) -> list[DeploymentStatus]:
    """Return every status a row may hold for this one to be written over it."""
    return [status, *(before for before, following in NEXT.items() if status in following)]


class Restart(Word):
    """What becomes of a server that ends though nobody asked it to."""

    always = ("always", "总是重启", "Always")
    never = ("never", "从不重启", "Never")


class CreateDeploymentRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say about a new deployment."""

    model_path: str
    """A path (a relative one below the training directory), a name of the Hub, `artifact:<id>`, or `<project>@release`."""
    model_version: str | None = None
    tags: list[str] = []
    extra_args: str | None = None
    """Further arguments of the server, split as a shell splits words; no shell reads them."""
    preferred_gpu: Annotated[int, Meta(ge=0)] | None = None
    """The number of the GPU it had best be given, on whichever host; another will do."""
    health_path: str = "/health"
    served_name: str | None = None
    """What callers name it by; `model_path` unless said."""
    gpu_count: Annotated[int, Meta(ge=0)] | None = None
    """More than one: tensor parallel. One where the host has GPUs, else none."""
    gpu_type: str | None = None
    restart: Restart = Restart.always
    follow: bool = True
    """Whether `<project>@release` rolls over to what is tagged so later."""


class Release(Struct, frozen=True, kw_only=True):
    """Where a deployed model came from: an artifact of ours."""

    artifact_id: ArtifactId
    project_id: ProjectId
    tag: str | None = None
    """The tag by which it was found; None when it was named by its id."""
    base_model: str | None = None
    """What the run was trained on: an adapter is served on it, unless its own config names another."""


class Deployment(Struct, frozen=True, kw_only=True):
    """One model served: what was asked, and what has become of it."""

    id: DeploymentId
    status: DeploymentStatus
    attempt: int = 1
    model_path: str
    """As it was asked for."""
    model_version: str | None = None
    tags: list[str] = []
    extra_args: list[str] = []
    health_path: str = "/health"
    served_names: list[str]
    """What callers may name it by, the first before all."""
    model: str
    """What is served: a path, relative to the training directory or absolute, or a name of the Hub."""
    release: Release | None = None
    resources: Resources = Resources()
    preferred_gpu: int | None = None
    restart: Restart = Restart.always
    follow: bool = False
    host: HostName | None = None
    address: str | None = None
    """Where it is reached."""
    port: int | None = None
    gpus: list[int] = []
    """The numbers of those it was given on its host."""
    command: str | None = None
    """What runs, secrets masked."""
    health_ok: bool | None = None
    """None until it has been looked at."""
    health: list[Change] = []
    """The last changes, oldest first."""
    figures: dict[str, float | None] = {}
    """Of its own metrics, the latest by name."""
    conditions: list[Condition] = []
    answered_at: datetime | None = None
    """When it first answered, in whichever attempt."""
    healthy_at: datetime | None = None
    """When this attempt first answered."""
    condemned: Failure | None = None
    """Why this attempt is being ended though it is wanted: it never answered, or it does not answer any more."""
    misfortunes: int = 0
    """Restarts in a row without a good while between them: what the next backoff grows by."""
    restarts: int = 0
    """How often it was begun anew since it was made."""
    attempts: list[Attempt] = []
    """The last of those that have ended, oldest first."""
    exit_code: int | None = None
    failure: Failure | None = None
    """Why its last attempt ended; kept while it runs again."""
    replaces: DeploymentId | None = None
    """The one that is stopped once this one answers."""
    replaced_by: DeploymentId | None = None
    removed_at: datetime | None = None
    """When somebody removed it from the list; it stays readable by its id."""
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    stopped_at: datetime | None = None

    def to(self, status: DeploymentStatus, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return the deployment one step later; Conflict if it may not take that step."""
        if status not in NEXT[self.status]:
            message = f"a deployment that is {self.status} cannot become {status}"
            raise Conflict(message, deployment=self.id)
        return replace(self, status=status, updated_at=at, **facts)

    def again(self, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return it queued for its next attempt: the one way back, and the attempt goes up."""
        if self.over or self.status is DeploymentStatus.stopping:
            message = f"a deployment that is {self.status} has no further attempt"
            raise Conflict(message, deployment=self.id)
        gone: dict[str, Any] = {"host": None, "address": None, "port": None, "gpus": [], "command": None}
        gone |= {"health_ok": None, "healthy_at": None, "condemned": None, "started_at": None}
        return replace(self, status=DeploymentStatus.queued, attempt=self.attempt + 1, updated_at=at, **gone, **facts)

    def felt(self, change: Change) -> Self:
        """Return it with another state of health; the same when nothing has changed."""
        if change.ok is self.health_ok:
            return self
        return replace(self, health_ok=change.ok, health=[*self.health, change][-KEPT:], updated_at=change.at)

    def removed(self, at: datetime) -> Self:
        """Return it as one that leaves the list once it is over."""
        return replace(self, removed_at=at, updated_at=at)

    def ended(self, attempt: Attempt) -> list[Attempt]:
        """Return what is remembered once this attempt has ended, too."""
        return [*self.attempts, attempt][-KEPT_ATTEMPTS:]

    def backoff(self, first: timedelta) -> timedelta:
        """Return the pause before the next attempt: twice as long each time, five minutes at most."""
        return min(first * float(2 ** min(self.misfortunes, 20)), LONGEST_BACKOFF)

    def with_condition(self, condition: Condition) -> Self:
        """Return it with this condition in the place of an older one of the same name."""
        return replace(self, conditions=[*self.without(condition.name).conditions, condition])

    def without(self, *names: ConditionName) -> Self:
        """Return it without these conditions."""
        return replace(self, conditions=[each for each in self.conditions if each.name not in names])

    def has(self, name: ConditionName) -> bool:
        """Whether this is the matter."""
        return any(each.name is name for each in self.conditions)

    @property
    def over(self) -> bool:
        """Whether it has ended, for good."""
        return self.status in TERMINAL

    @property
    def settled(self) -> bool:
        """Whether somebody who waited for it to run need not wait any more."""
        return self.over or self.status is DeploymentStatus.running

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.served_names[0]
