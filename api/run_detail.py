"""How a run is shown: its row, what waits or is the matter, in the caller's language."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from api.artifacts import ArtifactDetail, artifact_detail
from domain.files import Pinned
from domain.processes.attempt import Attempt
from domain.processes.condition import Condition, ConditionName
from domain.processes.failure import Failure, FailureClass
from domain.processes.process import Resources
from domain.processes.waiting import Holder, Reason, Waiting
from domain.runs.artifact import newest_checkpoint, why_no_checkpoint
from domain.runs.queries import Detail
from domain.runs.run import RunStatus, RunSummary
from domain.training.watch import Watch


class WaitingDetail(Struct, frozen=True, kw_only=True):
    """Why a run waits."""

    reason: Reason
    reason_label: str
    text: str
    """What blocks it, in words."""
    position: int
    """1: the next to start."""
    holders: list[Holder]
    """The runs that hold what it waits for."""
    starts_at: datetime | None
    """An estimate, where the progress of those runs allows one."""


class ConditionDetail(Struct, frozen=True, kw_only=True):
    """What is the matter with a living run."""

    name: ConditionName
    name_label: str
    reason: str
    since: datetime


class FailureDetail(Struct, frozen=True, kw_only=True):
    """Why a run, or one attempt of it, failed."""

    failure_class: FailureClass = field(name="class")
    class_label: str
    reason: str
    evidence: list[str]
    log_excerpt: list[str]


class AttemptDetail(Struct, frozen=True, kw_only=True):
    """One attempt that has ended."""

    number: int
    host: str | None
    started_at: datetime | None
    ended_at: datetime
    exit_code: int | None
    failure: FailureDetail | None


class ResumedRun(Struct, frozen=True, kw_only=True):
    """A run that goes on from a checkpoint of another."""

    id: str
    name: str
    status: RunStatus
    status_label: str
    resumed_from: str
    """The checkpoint."""


class RunDetail(Struct, frozen=True, kw_only=True):
    """A run with its artifacts; while it is queued, why it waits; while it lives, what is the matter."""

    id: str
    project_id: str
    name: str
    status: RunStatus
    status_label: str
    progress: float
    """0 while it waits, 0.05 once started, 1 at a good end."""
    waiting: WaitingDetail | None
    conditions: list[ConditionDetail]
    model: str | None
    dataset: str | None
    hyperparameters: dict[str, Any]
    resources: Resources
    priority: int
    labels: dict[str, str]
    start_command: str
    config: dict[str, Any]
    """The effective configuration, frozen at launch."""
    inputs: dict[str, Pinned]
    watch: Watch
    metrics: dict[str, float | None]
    """Latest value by name; null where the trainer said NaN or infinity."""
    resumed_from: str | None
    """The checkpoint that it goes on from."""
    resumed_by: list[ResumedRun]
    """The runs that go on from one of its checkpoints, oldest first."""
    host: str | None
    gpus: list[str]
    gpu_utilization: float | None
    """0 to 1, the mean over its GPUs, while it runs."""
    attempt: int
    attempts: list[AttemptDetail]
    """Those that have ended, oldest first."""
    exit_code: int | None
    failure: FailureDetail | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancelled_at: datetime | None
    artifacts: list[ArtifactDetail]


class RunCancelled(RunDetail, frozen=True, kw_only=True):
    """A run that was asked to stop: the checkpoint that was kept, or why there is none. Its SHA-256 sums follow a little later."""

    checkpoint: ArtifactDetail | None
    """The newest complete one; null while the run is still stopping. Its sums follow when every byte has been read."""
    checkpoint_note: str | None
    lost_steps: int | None
    """Steps that were measured after the checkpoint."""


class RunListed(RunSummary, frozen=True, kw_only=True):
    """A run as the list shows it."""

    status_label: str


def run_detail(detail: Detail, language: str) -> RunDetail:
    """Return a run as it is shown."""
    return RunDetail(**_shown(detail, language))


def run_cancelled(detail: Detail, last_step: int | None, language: str) -> RunCancelled:
    """Return a run as a cancel answers it."""
    run, artifacts = detail.run, detail.artifacts
    checkpoint = newest_checkpoint(artifacts) if run.over else None
    note = why_no_checkpoint(artifacts) if run.over and checkpoint is None else None
    step = checkpoint.step if checkpoint else None
    return RunCancelled(
        **_shown(detail, language),
        checkpoint=artifact_detail(checkpoint, language) if checkpoint else None,
        checkpoint_note=note,
        lost_steps=max(last_step - step, 0) if last_step is not None and step is not None else None,
    )


def run_listed(run: RunSummary, language: str) -> RunListed:
    """Return a run as a list shows it."""
    return RunListed(**asdict(run), status_label=run.status.label(language))


def _shown(detail: Detail, language: str) -> dict[str, Any]:
    run = detail.run
    return asdict(run) | {
        "status_label": run.status.label(language),
        "waiting": detail.waiting and _waiting(detail.waiting, language),
        "conditions": [_condition(each, language) for each in run.conditions],
        "attempts": [_attempt(each, language) for each in run.attempts],
        "failure": run.failure and _failure(run.failure, language),
        "resumed_by": [_resumed(each, language) for each in detail.resumed_by],
        "gpu_utilization": detail.gpu_utilization,
        "cancelled_at": run.finished_at if run.status is RunStatus.cancelled else None,
        "artifacts": [artifact_detail(artifact, language) for artifact in detail.artifacts],
    }


def _resumed(run: RunSummary, language: str) -> ResumedRun:
    label = run.status.label(language)
    return ResumedRun(id=run.id, name=run.name, status=run.status, status_label=label, resumed_from=run.resumed_from or "")


def _waiting(waiting: Waiting, language: str) -> WaitingDetail:
    return WaitingDetail(
        reason=waiting.reason,
        reason_label=waiting.reason.label(language),
        text=waiting.text_en if language == "en" else waiting.text_zh,
        position=waiting.position,
        holders=waiting.holders,
        starts_at=waiting.starts_at,
    )


def _condition(condition: Condition, language: str) -> ConditionDetail:
    return ConditionDetail(name=condition.name, name_label=condition.name.label(language), reason=condition.reason, since=condition.since)


def _failure(failure: Failure, language: str) -> FailureDetail:
    return FailureDetail(**asdict(failure), class_label=failure.failure_class.label(language))


def _attempt(attempt: Attempt, language: str) -> AttemptDetail:
    facts: dict[str, Any] = asdict(attempt) | {"failure": attempt.failure and _failure(attempt.failure, language)}
    return AttemptDetail(**facts)
