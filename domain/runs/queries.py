"""What people may read about runs; nothing here changes anything."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from domain.errors import Flaw, Invalid, NotFound
from domain.paging import Listing, Page
from domain.processes.log import Line, lines_of, micros
from domain.processes.ports import HasProcesses
from domain.projects.actions import unknown
from domain.projects.ports import HasProjects
from domain.runs.artifact import Artifact
from domain.runs.ports import HasRuns
from domain.runs.run import Metric, Run, RunStatus, RunSummary


class Tx(HasProjects, HasRuns, HasProcesses, Protocol):
    """What these questions may touch."""


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


def detail(tx: Tx, project_ref: str, ref: str) -> tuple[Run, list[Artifact], str | None]:
    """Return a run, what it left on disk, and, while it is queued, what it waits for."""
    run = get(tx, project_ref, ref)
    waiting_for = tx.processes.of(run.id).waiting_for if run.status is RunStatus.queued else None
    return run, tx.artifacts.of(run.id), waiting_for


def kept(tx: Tx, project_ref: str, ref: str) -> tuple[Run, list[Artifact], int | None]:
    """Return a run, what it left on disk, and the last step that it measured."""
    run = get(tx, project_ref, ref)
    return run, tx.artifacts.of(run.id), tx.metrics.last_step(run.id)


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


def _line_at(tx: Tx, run: Run, moment: datetime) -> int:
    at = micros(moment)
    chunk = tx.logs.last_begun_before(run.id, at)
    return chunk.line_seen_at(at) if chunk else 0
