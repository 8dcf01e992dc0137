"""How a run is shown: its row, what waits or is the matter, in the caller's language."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from api.artifacts import ArtifactDetail, artifact_detail
from api.process_detail import (
    AttemptDetail,
    ConditionDetail,
    FailureDetail,
    WaitingDetail,
    attempt_detail,
    condition_detail,
    failure_detail,
    waiting_detail,
)
from domain.files import Pinned
from domain.processes.process import Resources
from domain.runs.artifact import newest_checkpoint, why_no_checkpoint
from domain.runs.queries import Detail
from domain.runs.run import RunStatus, RunSummary
from domain.training.watch import Watch


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
        "waiting": detail.waiting and waiting_detail(detail.waiting, language),
        "conditions": [condition_detail(each, language) for each in run.conditions],
        "attempts": [attempt_detail(each, language) for each in run.attempts],
        "failure": run.failure and failure_detail(run.failure, language),
        "resumed_by": [_resumed(each, language) for each in detail.resumed_by],
        "gpu_utilization": detail.gpu_utilization,
        "cancelled_at": run.finished_at if run.status is RunStatus.cancelled else None,
        "artifacts": [artifact_detail(artifact, language) for artifact in detail.artifacts],
    }


def _resumed(run: RunSummary, language: str) -> ResumedRun:
    label = run.status.label(language)
    return ResumedRun(id=run.id, name=run.name, status=run.status, status_label=label, resumed_from=run.resumed_from or "")
