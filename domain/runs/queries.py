"""What people may read about runs; nothing here changes anything."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.database import Transaction
from domain.errors import Flaw, Invalid, NotFound
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.paging import Listing, Page
from domain.processes import yard
from domain.processes.condition import Condition, ConditionName
from domain.processes.log import Line, lines_of, micros
from domain.processes.placement import Wish
from domain.processes.ports import HasProcesses
from domain.processes.process import Process
from domain.processes.waiting import Waiting, explain
from domain.projects.actions import unknown
from domain.projects.ports import HasProjects
from domain.runs.artifact import Artifact, ArtifactType
from domain.runs.ports import HasRuns
from domain.runs.run import Metric, Run, RunStatus, RunSummary


class Tx(Transaction, HasProjects, HasRuns, HasProcesses, HasHosts, HasEvents, Protocol):
    """What these questions may touch."""


MOST_AHEAD = 50
MOST_HOLDERS = 500
"""How many of those ahead, and of those that hold something, an explanation looks at."""


class LogPage(Struct, frozen=True, kw_only=True):
    """Some lines of a log, and how many the whole window has."""

    lines: list[Line]
    total: int


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
        return replace(shown, waiting=_waiting(tx, tx.processes.of(run.id)))
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
    if start and end and end < start:
        message = f"end_time {end.isoformat()} is before start_time {start.isoformat()}"
        raise Invalid(message, [Flaw("end_time", message)])
    run = get(tx, project_ref, ref)
    first = _line_at(tx, run, start) if start else 0
    stop = _line_at(tx, run, end) if end else tx.logs.end(run.id)
    begin = first + page.offset
    return LogPage(lines=log_lines(tx, run.id, begin, min(begin + page.size, stop)), total=max(stop - first, 0))


def log_lines(tx: Tx, owner_id: str, first: int, stop: int) -> list[Line]:
    """Return the lines `first` to `stop`, exclusive."""
    return lines_of(tx.logs.between(owner_id, first, stop), first, stop) if stop > first else []


def follow(tx: Tx, run: Run, first: int, limit: int) -> tuple[Run, list[Line]]:
    """Return the run as it is now, then its lines from `first` on: once it is over and no line is left, none will come."""
    now = tx.runs.get(run.id) or run
    return now, log_lines(tx, run.id, first, first + limit)


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


def _waiting(tx: Tx, process: Process) -> Waiting:
    """Explain why a process waits, from the rows as they are."""
    wish = Wish(process.id, process.priority, process.created_at, process.resources, process.folder)
    ahead, count = tx.processes.ahead_of(process, MOST_AHEAD)
    hosts = yard.seen(tx)
    return explain(
        wish,
        ahead,
        yard.places(hosts),
        tx.runs.holders(MOST_HOLDERS),
        position=count + 1,
        now=tx.now,
        not_before=process.not_before,
        away=yard.away(hosts),
    )


def _with_host(tx: Tx, run: Run) -> Run:
    """Say so when nobody speaks for the host of a living run: silence is no death, but a person should know."""
    known = tx.hosts.get(run.host) if run.host else None
    if known is None or known[1]:
        return run
    reason = f"host {run.host} has been silent since {known[0].lease_until:%Y-%m-%d %H:%M:%S} UTC; the training may well go on there"
    return run.with_condition(Condition(name=ConditionName.host_lost, reason=reason, since=known[0].lease_until))


def _line_at(tx: Tx, run: Run, moment: datetime) -> int:
    at = micros(moment)
    chunk = tx.logs.last_begun_before(run.id, at)
    return chunk.line_seen_at(at) if chunk else 0
