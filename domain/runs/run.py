"""A run is one training of one project; the table below, and `again`, are all it may do: nothing else in the code knows a transition."""

from datetime import datetime
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import Conflict
from domain.files import Pinned
from domain.ids import HostName, ProjectId, RunId
from domain.processes.attempt import Attempt
from domain.processes.condition import Condition, ConditionName
from domain.processes.failure import Failure
from domain.processes.process import Resources
from domain.training.watch import Watch
from domain.words import Word


class RunStatus(Word):
    """Where a run stands."""

    queued = ("queued", "排队中", "Queued")
    starting = ("starting", "启动中", "Starting")
    running = ("running", "运行中", "Running")
    cancelling = ("cancelling", "取消中", "Cancelling")
    succeeded = ("succeeded", "已完成", "Succeeded")
    failed = ("failed", "失败", "Failed")
    cancelled = ("cancelled", "已取消", "Cancelled")


NEXT = {
    RunStatus.queued: {RunStatus.starting, RunStatus.cancelled, RunStatus.failed},
    RunStatus.starting: {RunStatus.running, RunStatus.cancelling, RunStatus.failed},
    RunStatus.running: {RunStatus.cancelling, RunStatus.succeeded, RunStatus.failed},
    RunStatus.cancelling: {RunStatus.cancelled},
    RunStatus.succeeded: set[RunStatus](),
    RunStatus.failed: set[RunStatus](),
    RunStatus.cancelled: set[RunStatus](),
}
TERMINAL = frozenset(status for status, following in NEXT.items() if not following)


def may_precede(status: RunStatus) -> list[RunStatus]:
    """Return every status a row may hold for this one to be written over it."""
    return [status, *(before for before, following in NEXT.items() if status in following)]


class NewRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say about a new run; nothing is required."""

    name: str | None = None
    model: str | None = None
    dataset: str | None = None
    """A dataset's id, its name, or a path; takes the place of the project's `dataset_name`."""
    hyperparameters: dict[str, Any] = {}
    resources: Resources = Resources()
    priority: int | None = None
    """Higher goes first; 0 unless said, or as the run had it that this one goes on from."""
    labels: dict[str, str] = {}

    def laid_over(self, source: "Run") -> "NewRun":
        """Return what is asked for of a run that goes on from another: that one's values where nothing else is said."""
        return replace(
            self,
            hyperparameters=source.hyperparameters | self.hyperparameters,
            resources=Resources(
                gpu_type=self.resources.gpu_type or source.resources.gpu_type,
                gpu_count=source.resources.gpu_count if self.resources.gpu_count is None else self.resources.gpu_count,
            ),
            priority=source.priority if self.priority is None else self.priority,
            labels=source.labels | self.labels,
        )


class Run(Struct, frozen=True, kw_only=True):
    """One training: what was asked, and what became of it."""

    id: RunId
    project_id: ProjectId
    name: str
    status: RunStatus
    attempt: int = 1
    progress: float = 0.0
    """0 while it waits, 0.05 once started, 1 at a good end."""
    model: str | None = None
    dataset: str | None = None
    hyperparameters: dict[str, Any] = {}
    resources: Resources = Resources()
    priority: int = 0
    labels: dict[str, str] = {}
    start_command: str
    """What starts it, its config named by its path below the training directory."""
    config: dict[str, Any]
    """The effective configuration, frozen at launch: project defaults, then the YAML, then the request."""
    inputs: dict[str, Pinned]
    """What the config names by path → the very bytes that were pinned."""
    metrics: dict[str, float | None] = {}
    """Latest value by name; null where the trainer said NaN or infinity."""
    resumed_from: str | None = None
    host: HostName | None = None
    gpus: list[str] = []
    """The devices it was given, by UUID where known."""
    watch: Watch = Watch()
    conditions: list[Condition] = []
    attempts: list[Attempt] = []
    """Those that have ended, oldest first."""
    exit_code: int | None = None
    failure: Failure | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def to(self, status: RunStatus, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return the run one step later; Conflict if a run may not take that step."""
        if status not in NEXT[self.status]:
            message = f"a run that is {self.status} cannot become {status}"
            raise Conflict(message, run=self.id)
        return replace(self, status=status, updated_at=at, **facts)

    def again(self, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return the run queued for its next attempt: the one way back, and the attempt goes up."""
        if self.over or self.status is RunStatus.cancelling:
            message = f"a run that is {self.status} has no further attempt"
            raise Conflict(message, run=self.id)
        return replace(self, status=RunStatus.queued, attempt=self.attempt + 1, host=None, gpus=[], updated_at=at, **facts)

    def with_condition(self, condition: Condition) -> Self:
        """Return the run with this condition in the place of an older one of the same name."""
        return replace(self, conditions=[*self.without(condition.name).conditions, condition])

    def without(self, *names: ConditionName) -> Self:
        """Return the run without these conditions."""
        return replace(self, conditions=[each for each in self.conditions if each.name not in names])

    def has(self, name: ConditionName) -> bool:
        """Whether this is the matter."""
        return any(each.name is name for each in self.conditions)

    @property
    def over(self) -> bool:
        """Whether it has ended, for good."""
        return self.status in TERMINAL

    @property
    def folder(self) -> str:
        """Everything of this run on disk, below the training directory."""
        return folder_of(self.id)


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run as a list shows it."""

    id: RunId
    project_id: ProjectId
    name: str
    status: RunStatus
    progress: float
    model: str | None
    dataset: str | None
    metrics: dict[str, float | None]
    resumed_from: str | None
    host: HostName | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Metric(Struct, frozen=True, kw_only=True):
    """One value a trainer reported."""

    run_id: RunId
    name: str
    step: int | None = None
    epoch: float | None = None
    value: float | None
    """Null where the trainer said NaN or infinity."""
    at: datetime


def folder_of(run_id: RunId) -> str:
    """Where a run's files lie, below the training directory."""
    return f"runs/{run_id}"
