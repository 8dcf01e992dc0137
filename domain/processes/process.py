"""A process is one command wanted on a host for an owner, and how far that has come."""

from datetime import datetime, timedelta
from math import inf
from typing import Annotated, Any, Self

from msgspec import Meta, Struct
from msgspec.structs import replace

from domain.errors import Conflict
from domain.ids import HostName, ProcessId
from domain.words import Word


class Phase(Word):
    """How far a process has come; a later phase never goes back within one attempt."""

    waiting = ("waiting", "等待分配", "Waiting for a host")
    placed = ("placed", "已分配", "Placed on a host")
    starting = ("starting", "启动中", "Starting")
    alive = ("alive", "运行中", "Alive")
    over = ("over", "已结束", "Over")


class OwnerKind(Word):
    """Whom processes live for."""

    run = ("run", "训练", "Training")
    deployment = ("deployment", "部署", "Deployment")
    job = ("job", "后台任务", "Job")

    @property
    def takes_slot(self) -> bool:
        """Whether it counts among what may live on a host at once: slots are for trainings; servers need a port, and their GPUs."""
        return self is OwnerKind.run

    @property
    def stops_alone(self) -> bool:
        """Whether it tells its children itself when it is asked to stop.

        A trainer's script does not. vLLM does, and where its engine is asked too, what it was just answering breaks off.
        """
        return self is OwnerKind.deployment


NEXT = {
    Phase.waiting: {Phase.placed, Phase.over},
    Phase.placed: {Phase.waiting, Phase.starting, Phase.over},
    Phase.starting: {Phase.alive, Phase.over},
    Phase.alive: {Phase.over},
    Phase.over: set[Phase](),
}


class Resources(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process needs of its host."""

    gpu_type: str | None = None
    gpu_count: Annotated[int, Meta(ge=0)] | None = None
    """None: one where the host has GPUs, else none."""


class Process(Struct, frozen=True, kw_only=True):
    """A command wanted on a host for an owner."""

    id: ProcessId
    owner_id: str
    """The run, deployment or job that it lives for."""
    owner_kind: OwnerKind = OwnerKind.run
    phase: Phase
    attempt: int = 1
    argv: list[str]
    executor: str | None = None
    """None: whatever the host uses."""
    resources: Resources
    preferred_gpu: int | None = None
    """The number of the GPU it had best be given; another will do."""
    priority: int = 0
    host: HostName | None = None
    folder: str | None = None
    """The training folder that it must find there, by its id; None: any host will do."""
    gpus: list[str] = []
    """The devices that it was given there, as CUDA_VISIBLE_DEVICES calls them."""
    not_before: datetime | None = None
    """When another attempt is due; None: as soon as there is room."""
    log_offset: int = 0
    """Bytes of its output that are stored; moves in the transaction that stores them."""
    report_offset: int = 0
    """Bytes of the metrics file beside its output (`trainer_log.jsonl`) that are stored; moves together with `log_offset`."""
    stop_asked_at: datetime | None = None
    """When it was asked to stop; None while it is wanted."""
    stop_grace: float | None = None
    """Seconds from then on in which the command may save and leave by itself."""
    stop_drain: float = 0.0
    """Seconds before that: it is not asked yet, but gets no more work."""
    stop_kill: bool = True
    """Whether what has not left then is killed."""
    pid: int | None = None
    start_ticks: int | None = None
    boot_id: str | None = None
    created_at: datetime
    updated_at: datetime

    def to(self, phase: Phase, at: datetime, **facts: Any) -> Self:  # noqa: ANN401 - any of the fields above
        """Return the process one step later; Conflict if it may not take that step."""
        if phase not in NEXT[self.phase]:
            message = f"a process that is {self.phase} cannot become {phase}"
            raise Conflict(message, process=self.id)
        return replace(self, phase=phase, updated_at=at, **facts)

    def again(self, at: datetime, *, after: timedelta, folder: str | None) -> Self:
        """Return the process waiting for its next attempt, which has a run directory of its own; Conflict when it is over."""
        if self.phase is Phase.over:
            message = "a process that is over has no further attempt"
            raise Conflict(message, process=self.id)
        return replace(
            self,
            phase=Phase.waiting,
            attempt=self.attempt + 1,
            host=None,
            folder=folder,
            gpus=[],
            not_before=at + after,
            log_offset=0,
            stop_asked_at=None,
            stop_grace=None,
            stop_drain=0.0,
            stop_kill=True,
            pid=None,
            start_ticks=None,
            boot_id=None,
            updated_at=at,
        )

    def asked_to_stop(self, at: datetime, grace: timedelta, *, kill: bool = True, drain: timedelta = timedelta(0)) -> Self:
        """Return the process with the wish to stop; asking again can only be more urgent."""
        asked = self.stop_asked_at is not None
        return replace(
            self,
            stop_asked_at=self.stop_asked_at or at,
            stop_grace=min(grace.total_seconds(), self.stop_grace if asked and self.stop_grace is not None else inf),
            stop_drain=min(drain.total_seconds(), self.stop_drain if asked else inf),
            stop_kill=kill or (asked and self.stop_kill),
            updated_at=at,
        )

    @property
    def directory(self) -> str:
        """Its run directory, below the training directory: one per attempt, so that no attempt is mistaken for another."""
        return f"{self.owner_kind}s/{self.owner_id}/attempt-{self.attempt}"
