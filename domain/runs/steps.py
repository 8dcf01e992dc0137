"""The steps that the actions on runs share: what they may touch, and every move of a status, each with its event."""

from datetime import timedelta
from typing import Protocol

from domain.database import Transaction
from domain.datasets.ports import HasDatasets
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.processes import actions as processes
from domain.processes.attempt import Attempt
from domain.processes.condition import PASSING
from domain.processes.failure import Failure
from domain.processes.ports import HasProcesses
from domain.processes.process import Process
from domain.projects.ports import HasProjects
from domain.runs.ports import HasRuns
from domain.runs.run import Run, RunStatus
from domain.train_configs.ports import HasTrainConfigs


class Tx(Transaction, HasProjects, HasDatasets, HasTrainConfigs, HasRuns, HasProcesses, HasHosts, HasEvents, Protocol):
    """What the actions on runs may touch."""


def move(tx: Tx, run: Run, status: RunStatus, **facts: object) -> Run:
    """Take the run one step on, with its event."""
    moved = run.to(status, tx.now, **facts)
    tx.runs.save(moved)
    data = {"from": run.status, "to": status, "attempt": moved.attempt, "host": moved.host}
    if moved.failure:
        data |= {"class": moved.failure.failure_class, "reason": moved.failure.reason}
    record(tx, f"run.{status}", run.id, project=run.project_id, **data)
    tx.tell(run.id)
    return moved


def over(tx: Tx, run: Run, status: RunStatus, last: Attempt, failure: Failure | None) -> Run:
    """End the run for good; what passes with an attempt is forgotten, the attempt is kept."""
    return move(
        tx,
        run.without(*PASSING),
        status,
        finished_at=tx.now,
        exit_code=last.exit_code,
        failure=failure,
        progress=1.0 if status is RunStatus.succeeded else run.progress,
        attempts=[*run.attempts, last],
    )


def stop(tx: Tx, run: Run, process: Process, grace: timedelta) -> Run:
    """Ask a run to stop: what nobody has taken is cancelled at once."""
    processes.stop(tx, process, grace=grace)
    if run.status is RunStatus.queued:
        return move(tx, run, RunStatus.cancelled, finished_at=tx.now)
    return run if run.status is RunStatus.cancelling else move(tx, run, RunStatus.cancelling)
