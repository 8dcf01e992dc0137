"""What people and the gateway may read about deployments; nothing here changes anything."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from domain.database import Transaction
from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.deployments.ports import DeploymentFilter, HasDeployments
from domain.deployments.source import newest, tagged
from domain.errors import NotFound
from domain.hosts.ports import HasHosts
from domain.ids import DeploymentId, HostName, RunId
from domain.paging import Listing, Page
from domain.processes import queries as processes
from domain.processes.log import Line
from domain.processes.ports import HasProcesses
from domain.processes.process import Process
from domain.processes.queries import LogPage
from domain.processes.waiting import Waiting
from domain.projects.ports import HasProjects
from domain.runs.ports import HasRuns
from domain.runs.run import Metric


class Tx(Transaction, HasDeployments, HasProjects, HasRuns, HasProcesses, HasHosts, Protocol):
    """What these questions may touch."""


class Detail(Struct, frozen=True, kw_only=True):
    """A deployment with what is shown beside it."""

    deployment: Deployment
    process: Process | None = None
    waiting: Waiting | None = None
    """Why it waits; None once it does not."""


class Route(Struct, frozen=True, kw_only=True):
    """Where a model answers."""

    deployment_id: DeploymentId
    address: str
    port: int
    names: list[str]
    """What its server knows the model by, the first before all."""
    created_at: datetime


def get(tx: HasDeployments, deployment_id: str) -> Deployment:
    """Return one deployment, removed or not; NotFound."""
    deployment = tx.deployments.get(DeploymentId(deployment_id))
    if deployment is None:
        raise unknown(deployment_id)
    return deployment


def unknown(deployment_id: str) -> NotFound:
    """Say that there is none of that id."""
    return NotFound(f"there is no deployment {deployment_id}", deployment=deployment_id)


def detail(tx: Tx, deployment_id: str) -> Detail:
    """Return a deployment with its process and, while it is queued, what it waits for."""
    return _detailed(tx, get(tx, deployment_id))


def page(tx: Tx, wanted: DeploymentFilter, page: Page) -> Listing[Detail]:
    """Return deployments, newest first; removed ones only when their status is asked for."""
    found = tx.deployments.page(wanted, page)
    return Listing([Detail(deployment=each, process=tx.processes.of(each.id)) for each in found.items], found.total)


def log_page(tx: Tx, deployment_id: str, page: Page, start: datetime | None, end: datetime | None) -> LogPage:
    """Return a page of its log within a time window (`start` inclusive, `end` exclusive); past the end it is empty."""
    processes.require_window(start, end)
    return processes.log_page(tx, get(tx, deployment_id).id, page, start, end)


def follow(tx: Tx, deployment_id: str, first: int, limit: int) -> tuple[Deployment, list[Line]]:
    """Return the deployment as it is now, then its lines from `first` on: once it is over and no line is left, none will come."""
    deployment = get(tx, deployment_id)
    return deployment, processes.log_lines(tx, deployment.id, first, first + limit)


def figures(tx: Tx, deployment_id: str, name: str | None, limit: int) -> tuple[Deployment, list[Metric]]:
    """Return what its server said of itself within the last day, oldest first."""
    deployment = get(tx, deployment_id)
    return deployment, tx.metrics.history(RunId(deployment.id), name, None, limit)


def healthy(tx: HasDeployments, model: str) -> list[Route]:
    """Return where a model of that name answers now; none when nowhere."""
    return [route for deployment in tx.deployments.running() if deployment.health_ok and (route := _route(deployment, model))]


def routes(tx: HasDeployments) -> list[Route]:
    """Return where all models answer now."""
    return [route for deployment in tx.deployments.running() if deployment.health_ok and (route := _route(deployment))]


def deployed(tx: Tx, model: str) -> bool:
    """Whether a model of that name is deployed at all, answering or not."""
    statuses = (DeploymentStatus.running, DeploymentStatus.starting, DeploymentStatus.queued)
    wanted = (DeploymentFilter(model=model, status=status) for status in statuses)
    return any(model in found.served_names for each in wanted for found in tx.deployments.page(each, Page(1, 500)).items)


def to_roll_over(tx: Tx, host: HostName) -> list[DeploymentId]:
    """Return those that follow a tag and serve something else than what is tagged so now; whether that was tried, `roll_over` sees.

    Of all hosts that live, the first by name sees to it.
    """
    return [] if tx.hosts.first_live() != host else [each.id for each in tx.deployments.following() if _is_outdated(tx, each)]


def _is_outdated(tx: Tx, deployment: Deployment) -> bool:
    _, tag = tagged(deployment.model_path)
    if tag is None or deployment.release is None:
        return False
    artifact = newest(tx, deployment.release.project_id, tag)
    return artifact is not None and artifact.id != deployment.release.artifact_id


def _detailed(tx: Tx, deployment: Deployment) -> Detail:
    process = tx.processes.of(deployment.id)
    if deployment.status is DeploymentStatus.queued:
        return Detail(deployment=deployment, process=process, waiting=processes.waiting(tx, process))
    silent = None if deployment.over else processes.silence(tx, deployment.host, "deployment")
    return Detail(deployment=deployment.with_condition(silent) if silent else deployment, process=process)


def _route(deployment: Deployment, model: str | None = None) -> Route | None:
    if deployment.address is None or deployment.port is None or (model is not None and model not in deployment.served_names):
        return None
    return Route(
        deployment_id=deployment.id,
        address=deployment.address,
        port=deployment.port,
        names=deployment.served_names,
        created_at=deployment.created_at,
    )
