"""Deployments as rows."""

from datetime import datetime

from sqlalchemy import bindparam, delete, or_, select

from domain.deployments.deployment import TERMINAL, Deployment, DeploymentStatus, may_precede
from domain.deployments.ports import DeploymentFilter
from domain.errors import Conflict
from domain.ids import DeploymentId, HostName
from domain.paging import Listing, Page
from infra.db.driver import fixed
from infra.db.rows import Rows, taken, updating
from infra.db.tables import DEPLOYMENTS, METRICS
from infra.db.text import contains

_C = DEPLOYMENTS.c
_ALL = select(*DEPLOYMENTS.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_LOCKED = fixed(_BY_ID.with_for_update())
_ALIVE = [_C.status != over for over in TERMINAL]
_RUNNING = fixed(_ALL.where(_C.status == DeploymentStatus.running).order_by(_C.created_at, _C.id))
_FOLLOWING = fixed(_ALL.where(_C.follow, _C.replaced_by.is_(None), _C.removed_at.is_(None), *_ALIVE).order_by(_C.created_at, _C.id))
_SUCCESSOR = fixed(_ALL.where(_C.replaces == bindparam("old")).order_by(_C.created_at.desc(), _C.id.desc()).limit(1))
_PORTS = fixed(select(_C.port).where(_C.host == bindparam("of"), _C.port.is_not(None), *_ALIVE))
_SAVE = {
    status: updating(
        DEPLOYMENTS.table, or_(*(_C.status == before for before in may_precede(status))), _C.attempt == bindparam("own_attempt")
    )
    for status in DeploymentStatus
}
_SAVE_AGAIN = updating(DEPLOYMENTS.table, *_ALIVE, _C.status != DeploymentStatus.stopping, _C.attempt < bindparam("next_attempt"))


class DeploymentRows(Rows[Deployment]):
    """The port `Deployments`."""

    stored = DEPLOYMENTS

    def get(self, deployment_id: DeploymentId) -> Deployment | None:
        """By id."""
        return self.one(_BY_ID, key=deployment_id)

    def lock(self, deployment_id: DeploymentId) -> Deployment | None:
        """By id, locked."""
        return self.one(_LOCKED, key=deployment_id)

    def add(self, deployment: Deployment) -> None:
        """Insert."""
        self.insert(deployment)

    def save(self, deployment: Deployment) -> None:
        """Write it over a row of the same attempt that has not gone further: a status never moves backwards within one."""
        with taken(f"port {deployment.port} of host {deployment.host} is another deployment's", deployment=deployment.id):
            written = self.write(deployment, _SAVE[deployment.status], own_attempt=deployment.attempt)
        if not written:
            message = f"deployment {deployment.id} has meanwhile gone further than {deployment.status}"
            raise Conflict(message, deployment=deployment.id)

    def save_again(self, deployment: Deployment) -> None:
        """Write it over a living row of an earlier attempt."""
        if not self.write(deployment, _SAVE_AGAIN, next_attempt=deployment.attempt):
            message = f"deployment {deployment.id} is over, or has had attempt {deployment.attempt} already"
            raise Conflict(message, deployment=deployment.id)

    def page(self, wanted: DeploymentFilter, page: Page) -> Listing[Deployment]:
        """Newest first."""
        dialect = self.connection.dialect.name
        statement = _ALL.order_by(_C.created_at.desc(), _C.id.desc())
        if wanted.model is not None:
            statement = statement.where(or_(_C.model_path == wanted.model, contains(_C.served_names, wanted.model, dialect)))
        if wanted.tag is not None:
            statement = statement.where(contains(_C.tags, wanted.tag, dialect))
        if wanted.status is not None:
            statement = statement.where(_C.status == wanted.status)
        else:
            statement = statement.where(or_(_C.removed_at.is_(None), _C.status == DeploymentStatus.stopping))
        return self.listing(statement, page)

    def ports_of(self, host: HostName) -> set[int]:
        """Of those that are not over."""
        return {row[0] for row in self.connection.execute(_PORTS, {"of": host})}

    def running(self) -> list[Deployment]:
        """Oldest first."""
        return self.many(_RUNNING)

    def following(self) -> list[Deployment]:
        """Oldest first."""
        return self.many(_FOLLOWING)

    def successor_of(self, deployment_id: DeploymentId) -> Deployment | None:
        """The newest."""
        return self.one(_SUCCESSOR, old=deployment_id)

    def forget_figures(self, deployment_id: DeploymentId, before: datetime) -> None:
        """By the index of its metrics."""
        self.connection.execute(delete(METRICS.table).where(METRICS.c.run_id == deployment_id, METRICS.c.at < before))
