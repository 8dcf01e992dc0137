"""The yard: every host with its GPUs, and how much it has on its hands, as people and placement see it."""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import NotFound
from domain.hosts.gpu import Gpu
from domain.hosts.host import Host, HostStatus
from domain.hosts.ports import HasHosts
from domain.ids import HostName
from domain.processes.placement import Place
from domain.processes.ports import HasProcesses


class Tx(HasHosts, HasProcesses, Protocol):
    """What a look at the yard touches."""


class SeenHost(Struct, frozen=True, kw_only=True):
    """One host."""

    host: Host
    live: bool
    """Whether a worker speaks for it."""
    gpus: list[Gpu]
    processes: int
    """Placed, starting or alive there in one of its slots."""
    owners: dict[int, str] = {}
    """Whose process holds which GPU, by its number; only where that was asked for."""

    @property
    def status(self) -> HostStatus:
        """Whether anything can be placed there."""
        if not self.live:
            return HostStatus.lost
        return HostStatus.live if self.host.accepting else HostStatus.draining


def seen(tx: Tx) -> list[SeenHost]:
    """Every host, by name."""
    living = tx.processes.living()
    gpus: dict[HostName, list[Gpu]] = {}
    for gpu in tx.gpus.all():
        gpus.setdefault(gpu.host, []).append(gpu)
    return [SeenHost(host=host, live=live, gpus=gpus.get(host.id, []), processes=living.get(host.id, 0)) for host, live in tx.hosts.all()]


def shown(tx: Tx) -> list[SeenHost]:
    """Every host, with whose process holds which GPU."""
    owners = tx.processes.owners()
    return [
        replace(each, owners={gpu.number: owners[gpu.holder] for gpu in each.gpus if gpu.holder and gpu.holder in owners})
        for each in seen(tx)
    ]


def shown_one(tx: Tx, name: str) -> SeenHost:
    """One host; NotFound."""
    found = next((each for each in shown(tx) if each.host.id == name), None)
    if found is None:
        message = f"there is no host {name}"
        raise NotFound(message, host=name)
    return found


def places(hosts: Iterable[SeenHost]) -> list[Place]:
    """Those of them where something can be placed, as placement sees them."""
    return [_place(each) for each in hosts if each.status is HostStatus.live and each.host.slots]


def away(hosts: Iterable[SeenHost]) -> list[Place]:
    """Those of them that are drained, or of which nothing is heard."""
    return [_place(each) for each in hosts if each.status is not HostStatus.live and each.host.slots]


def _place(seen: SeenHost) -> Place:
    return Place(host=seen.host.id, folder=seen.host.folder, slots=seen.host.slots - seen.processes, gpus=seen.gpus)
