"""What hosts need from the world. All lease arithmetic is done by the database's clock."""

from datetime import timedelta
from typing import Protocol

from domain.hosts.host import Host
from domain.ids import HostName


class Hosts(Protocol):
    """The hosts."""

    def lock(self, name: HostName) -> tuple[Host, bool] | None:
        """The host and whether its lease is live; nobody else changes it until the transaction ends."""
        ...

    def put(self, host: Host, ttl: timedelta) -> Host:
        """Keep a host, its lease valid for `ttl` from now; returned as kept."""
        ...

    def beat(self, name: HostName, lease: int, ttl: timedelta) -> bool:
        """Prolong the lease; False when it is no longer ours."""
        ...

    def hold(self, name: HostName, lease: int) -> None:
        """Keep the lease from passing on until the transaction ends; Ghost when it already has."""
        ...

    def all(self) -> list[tuple[Host, bool]]:
        """Every host, and whether its lease is live."""
        ...


class HasHosts(Protocol):
    """A transaction that reaches hosts."""

    @property
    def hosts(self) -> Hosts:
        """The hosts."""
        ...
