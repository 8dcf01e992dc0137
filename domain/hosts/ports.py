"""What hosts need from the world. All lease arithmetic is done by the database's clock."""

from datetime import timedelta
from typing import Protocol

from domain.hosts.gpu import Gpu, SeenGpu
from domain.hosts.host import Host
from domain.ids import HostName, ProcessId


class Hosts(Protocol):
    """The hosts."""

    def get(self, name: HostName) -> tuple[Host, bool] | None:
        """The host, and whether its lease is live."""
        ...

    def lock(self, name: HostName) -> tuple[Host, bool] | None:
        """The host and whether its lease is live; nobody else changes it until the transaction ends."""
        ...

    def put(self, host: Host, ttl: timedelta) -> Host:
        """Keep a host, its lease valid for `ttl` from now; returned as kept."""
        ...

    def beat(self, name: HostName, lease: int, ttl: timedelta) -> bool:
        """Prolong the lease; False when it is no longer ours."""
        ...

    def fence(self, name: HostName) -> None:
        """Make a ghost of whoever speaks for it; who wants to speak for it must register."""
        ...

    def accept(self, name: HostName, *, accepting: bool) -> None:
        """Say whether anything new is placed there."""
        ...

    def hold(self, name: HostName, lease: int) -> None:
        """Keep the lease from passing on until the transaction ends; Ghost when it already has."""
        ...

    def first_live(self) -> HostName | None:
        """The first of all hosts, by name, whose lease is live."""
        ...

    def all(self) -> list[tuple[Host, bool]]:
        """Every host, and whether its lease is live."""
        ...


class Gpus(Protocol):
    """The GPUs of all hosts."""

    def all(self) -> list[Gpu]:
        """Every one, by host and number."""
        ...

    def of(self, host: HostName) -> list[Gpu]:
        """Those of one host, by number."""
        ...

    def held_by(self, process_id: ProcessId) -> list[Gpu]:
        """Those that a process holds."""
        ...

    def see(self, host: HostName, seen: list[SeenGpu]) -> None:
        """Make the rows say what the driver shows; holders stay, and what is gone goes unless it is held."""
        ...

    def grant(self, process_id: ProcessId, gpus: list[Gpu]) -> None:
        """Give free ones to a process; Conflict when one of them is not free."""
        ...

    def release(self, process_id: ProcessId) -> None:
        """Take back whatever a process holds."""
        ...

    def set_aside(self, process_id: ProcessId, reason: str) -> None:
        """Take back what a process holds, and give it to nobody until somebody returns it."""
        ...

    def give_back(self, host: HostName, number: int | None) -> int:
        """Give again what was set aside, one or (None) all of a host; how many there were."""
        ...


class HasHosts(Protocol):
    """A transaction that reaches hosts and their GPUs."""

    @property
    def hosts(self) -> Hosts:
        """The hosts."""
        ...

    @property
    def gpus(self) -> Gpus:
        """Their GPUs."""
        ...
