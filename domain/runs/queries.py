"""What people may read about runs; nothing here changes anything."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.database import Transaction
from domain.errors import NotFound
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.paging import Listing, Page
from domain.processes import queries as processes
from domain.processes.log import Line
from domain.processes.ports import HasProcesses
from domain.processes.queries import LogPage
from domain.processes.waiting import Waiting
from domain.projects.actions import unknown
from domain.projects.ports import HasProjects
from domain.runs.artifact import Artifact, ArtifactType
from domain.runs.ports import HasRuns
from domain.runs.run import Metric, Run, RunStatus, RunSummary


class Tx(Transaction, HasProjects, HasRuns, HasProcesses, HasHosts, HasEvents, Protocol):
    """What these questions may touch."""


def get(tx: Tx, project_ref: str, ref: str) -> Run:
    """Return the run of that id or name in that project; NotFound says which of the two is unknown."""
    run = tx.runs.find(project_ref, ref)
    if run is None:
        if tx.projects.find(project_ref) is None:
            raise unknown(project_ref)
        message = f"project {project_ref} has no run with the id or name {ref}"
        raise NotFound(message, run=ref)
    return run


class Detail(Struct, frozen=True, kw_only=True):
    """A run with all that is shown beside it."""

    run: Run
    artifacts: list[Artifact]
    waiting: Waiting | None = None
    """Why it waits; None once it does not."""
    gpu_utilization: float | None = None
    """0 to 1, the mean over its GPUs, while it has some."""
    resumed_by: list[RunSummary] = []
    """The runs that go on from one of its checkpoints, oldest first."""


def detail(tx: Tx, project_ref: str, ref: str) -> Detail:
    """Return a run, what it left on disk, and, while it lives, what it waits for or how its host and GPUs do."""
    run = get(tx, project_ref, ref)
    shown = _with_its_like(tx, run)
    if run.over:
        return shown
    if run.status is RunStatus.queued:
        return replace(shown, waiting=processes.waiting(tx, tx.processes.of(run.id)))
    used = [gpu.utilization for gpu in tx.gpus.held_by(tx.processes.of(run.id).id) if gpu.utilization is not None] if run.gpus else []
    return replace(shown, run=_with_host(tx, run), gpu_utilization=sum(used) / len(used) if used else None)


def kept(tx: Tx, project_ref: str, ref: str) -> tuple[Detail, int | None]:
    """Return a run, what it left on disk, and the last step that it measured."""
    run = get(tx, project_ref, ref)
    return _with_its_like(tx, run), tx.metrics.last_step(run.id)


def list_runs(tx: Tx, project_ref: str, status: RunStatus | None, page: Page) -> Listing[RunSummary]:
    """Return the runs of a project, newest first."""
    project = tx.projects.find(project_ref)
    if project is None:
        raise unknown(project_ref)
    return tx.runs.page(project.id, status, page)


def log_page(tx: Tx, project_ref: str, ref: str, page: Page, start: datetime | None, end: datetime | None) -> LogPage:
    """Return a page of the log within a time window (`start` inclusive, `end` exclusive); past the end it is empty."""
    processes.require_window(start, end)
    return processes.log_page(tx, get(tx, project_ref, ref).id, page, start, end)


def follow(tx: Tx, run: Run, first: int, limit: int) -> tuple[Run, list[Line]]:
    """Return the run as it is now, then its lines from `first` on: once it is over and no line is left, none will come."""
    now = tx.runs.get(run.id) or run
    return now, processes.log_lines(tx, run.id, first, first + limit)


def artifacts(tx: Tx, project_ref: str, ref: str) -> list[Artifact]:
    """Return what a run left on disk, oldest first."""
    return tx.artifacts.of(get(tx, project_ref, ref).id)


def artifact(tx: Tx, project_ref: str, ref: str, artifact_id: str) -> Artifact:
    """Return one artifact of a run; NotFound otherwise."""
    run = get(tx, project_ref, ref)
    found = tx.artifacts.get(run.id, artifact_id)
    if found is None:
        message = f"run {run.name} has no artifact {artifact_id}"
        raise NotFound(message, artifact=artifact_id)
    return found


def metric_history(tx: Tx, project_ref: str, ref: str, name: str | None, since_step: int | None, limit: int) -> list[Metric]:
    """Return what a trainer measured, in the order it said so."""
    return tx.metrics.history(get(tx, project_ref, ref).id, name, since_step, limit)


def _with_its_like(tx: Tx, run: Run) -> Detail:
    """Show a run with what it left, and with the runs that went on from there; only a checkpoint has any."""
    artifacts = tx.artifacts.of(run.id)
    resumable = any(artifact.type is ArtifactType.checkpoint for artifact in artifacts)
    return Detail(run=run, artifacts=artifacts, resumed_by=tx.runs.resumed_from(run.id) if resumable else [])


def _with_host(tx: Tx, run: Run) -> Run:
    silent = processes.silence(tx, run.host, "training")
    return run.with_condition(silent) if silent else run
