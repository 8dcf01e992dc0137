"""What deployments need from the world."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.ids import DeploymentId, HostName
from domain.paging import Listing, Page


class DeploymentFilter(Struct, frozen=True, kw_only=True):
    """Which deployments a list shows; what is None does not matter."""

    model: str | None = None
    """Its model path as asked for, or a name it is served by."""
    tag: str | None = None
    status: DeploymentStatus | None = None
    """Unless one is asked for, those that were removed are left out."""


class Deployments(Protocol):
    """The deployments."""

    def get(self, deployment_id: DeploymentId) -> Deployment | None:
        """By id."""
        ...

    def lock(self, deployment_id: DeploymentId) -> Deployment | None:
        """As `get`, and nobody else changes it until the transaction ends."""
        ...

    def add(self, deployment: Deployment) -> None:
        """Keep a new one."""
        ...

    def save(self, deployment: Deployment) -> None:
        """Keep a changed one; Conflict when the row has meanwhile gone further, or its port is another's."""
        ...

    def save_again(self, deployment: Deployment) -> None:
        """Keep one that begins its next attempt; Conflict when it is over, or has begun that attempt already."""
        ...

    def page(self, wanted: DeploymentFilter, page: Page) -> Listing[Deployment]:
        """Newest first."""
        ...

    def ports_of(self, host: HostName) -> set[int]:
        """Those that living deployments have there."""
        ...

    def running(self) -> list[Deployment]:
        """Those that answer, or did when they were last asked, oldest first."""
        ...

    def following(self) -> list[Deployment]:
        """Living ones that follow a tag and are not being replaced, oldest first."""
        ...

    def successor_of(self, deployment_id: DeploymentId) -> Deployment | None:
        """The newest that was made to replace it."""
        ...

    def forget_figures(self, deployment_id: DeploymentId, before: datetime) -> None:
        """Drop what was measured of it before then: a server may run for years."""
        ...


class HasDeployments(Protocol):
    """A transaction that reaches deployments."""

    @property
    def deployments(self) -> Deployments:
        """The deployments."""
        ...
