"""The steps that the actions on deployments share: what they may touch, and every move of a status, each with its event."""

from datetime import timedelta
from typing import Protocol

from domain.database import Transaction
from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.deployments.ports import HasDeployments
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.processes import actions as processes
from domain.processes.condition import PASSING
from domain.processes.ports import HasProcesses
from domain.projects.ports import HasProjects
from domain.runs.ports import HasRuns

TOPIC = "deployments"
"""Told at every change of any of them: what the gateway follows."""
DRAIN = timedelta(seconds=1)
"""Between the moment it gets no more requests and the first TERM: whoever was just sent to it still arrives."""


class Tx(Transaction, HasDeployments, HasProjects, HasRuns, HasProcesses, HasHosts, HasEvents, Protocol):
    """What the actions on deployments may touch."""


def move(tx: Tx, deployment: Deployment, status: DeploymentStatus, **facts: object) -> Deployment:
    """Take the deployment one step on, with its event."""
    moved = deployment.to(status, tx.now, **facts)
    tx.deployments.save(moved)
    data = {"from": deployment.status, "to": status, "attempt": moved.attempt, "host": moved.host, "model": moved.name}
    if moved.over and moved.failure:
        data |= {"class": moved.failure.failure_class, "reason": moved.failure.reason}
    tell(tx, moved, f"deployment.{status}", **data)
    return moved


def over(tx: Tx, deployment: Deployment, status: DeploymentStatus, **facts: object) -> Deployment:
    """End the deployment for good; what passes with an attempt is forgotten."""
    return move(tx, deployment.without(*PASSING), status, stopped_at=tx.now, health_ok=None, **facts)


def stop(tx: Tx, deployment: Deployment, *, grace: timedelta, kill: bool, drain: timedelta = DRAIN) -> Deployment:
    """Ask a deployment to stop: what nobody has taken is stopped at once."""
    process = processes.stop(tx, processes.locked_of(tx, deployment.id), grace=grace, kill=kill, drain=drain)
    if deployment.status is DeploymentStatus.queued:
        return over(tx, deployment, DeploymentStatus.stopped)
    if deployment.status is DeploymentStatus.stopping:
        return deployment
    return move(tx, deployment, DeploymentStatus.stopping, health_ok=False if process.pid else None)


def tell(tx: Tx, deployment: Deployment, kind: str, **data: object) -> None:
    """Record what has happened, and let followers look again."""
    record(tx, kind, deployment.id, project=deployment.release.project_id if deployment.release else None, **data)
    tx.tell(deployment.id)
    tx.tell(TOPIC)
