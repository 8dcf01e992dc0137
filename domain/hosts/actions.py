"""What a worker may do for its host: register, prolong its lease, give it back; and what operators may: drain it, return a GPU."""

from datetime import timedelta
from typing import Protocol

from msgspec.structs import replace

from domain.database import Transaction
from domain.errors import Conflict, Ghost, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.gpu import Gpu, SeenGpu
from domain.hosts.host import Host, Registration
from domain.hosts.ports import HasHosts
from domain.ids import HostName


class Tx(Transaction, HasHosts, HasEvents, Protocol):
    """What the actions on hosts may touch."""


def register(tx: Tx, asked: Registration) -> Host:
    """Take the lease of a host; Conflict while another worker holds it for certain.

    A second worker of the same machine takes over at once when the first is dead (`sole`) or its lease has run out (frozen).
    Another machine under the same name is refused while the lease is live.
    """
    known = tx.hosts.lock(asked.name)
    if known and known[1]:
        _require_free(known[0], asked)
    host = Host(
        id=asked.name,
        address=asked.address,
        boot_id=asked.boot_id,
        lease=known[0].lease + 1 if known else 1,
        lease_until=tx.now + asked.ttl,
        slots=asked.slots,
        folder=asked.folder,
        accepting=known[0].accepting if known else True,
        executor=asked.executor,
        registered_at=tx.now,
    )
    tx.gpus.see(asked.name, asked.gpus)
    if known and known[0].boot_id != asked.boot_id:
        tx.gpus.give_back(asked.name, None)  # what could not be killed did not survive the restart of the machine
    record(tx, "host.registered", asked.name, lease=host.lease, address=host.address, gpus=len(asked.gpus))
    tx.place_later()
    return tx.hosts.put(host, asked.ttl)


def beat(tx: Tx, name: HostName, lease: int, ttl: timedelta, gpus: list[SeenGpu]) -> None:
    """Say that the worker lives, prolong its lease, and show its GPUs; Ghost when another has taken over."""
    if not tx.hosts.beat(name, lease, ttl):
        message = f"another worker speaks for host {name} now"
        raise Ghost(message, host=name)
    tx.gpus.see(name, gpus)


def leave(tx: Tx, name: HostName, lease: int) -> None:
    """Give the lease back at a clean stop, so that the next worker need not wait for it."""
    known = tx.hosts.lock(name)
    if known and known[0].lease == lease:
        tx.hosts.put(replace(known[0], lease_until=tx.now), timedelta(0))
        record(tx, "host.left", name, lease=lease)


def drain(tx: Tx, name: str) -> Host:
    """Place nothing new on a host; what runs there goes on. Repeating it changes nothing."""
    return _accepting(tx, name, accepting=False)


def undrain(tx: Tx, name: str) -> Host:
    """Place on a host again."""
    return _accepting(tx, name, accepting=True)


def return_gpu(tx: Tx, name: str, number: int) -> Gpu:
    """Give a GPU again that was set aside: an operator has seen that nothing is left on it. Conflict when it is not set aside."""
    host, _ = _known(tx, name)
    gpu = next((each for each in tx.gpus.of(host.id) if each.number == number), None)
    if gpu is None:
        message = f"host {name} has no GPU {number}"
        raise NotFound(message, host=name)
    if not tx.gpus.give_back(host.id, number):
        message = f"GPU {number} of host {name} is not set aside"
        raise Conflict(message, host=name)
    record(tx, "gpu.returned", name, number=number, was=gpu.set_aside)
    tx.place_later()
    return replace(gpu, set_aside=None)


def find(tx: Tx, name: HostName) -> Host | None:
    """Return a host as it last registered."""
    known = tx.hosts.get(name)
    return known[0] if known else None


def _accepting(tx: Tx, name: str, *, accepting: bool) -> Host:
    host, _ = _known(tx, name)
    if host.accepting is accepting:
        return host
    tx.hosts.accept(host.id, accepting=accepting)
    record(tx, "host.undrained" if accepting else "host.drained", name)
    tx.place_later()
    return replace(host, accepting=accepting)


def _known(tx: Tx, name: str) -> tuple[Host, bool]:
    known = tx.hosts.lock(HostName(name))
    if known is None:
        message = f"there is no host {name}"
        raise NotFound(message, host=name)
    return known


def _require_free(holder: Host, asked: Registration) -> None:
    if holder.boot_id != asked.boot_id:
        message = f"host name {asked.name} belongs to another machine whose worker is alive; set TUNEYARD_HOST to another name"
        raise Conflict(message, host=asked.name)
    if not asked.sole:
        message = f"a worker for host {asked.name} is already running on this machine"
        raise Conflict(message, host=asked.name)
