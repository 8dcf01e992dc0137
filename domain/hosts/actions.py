"""What a worker may do for its host: register, prolong its lease, give it back."""

from datetime import timedelta
from typing import Protocol

from msgspec.structs import replace

from domain.database import Transaction
from domain.errors import Conflict, Ghost
from domain.events.actions import record
from domain.events.ports import HasEvents
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
        accepting=known[0].accepting if known else True,
        executor=asked.executor,
        registered_at=tx.now,
    )
    record(tx, "host.registered", asked.name, lease=host.lease, address=host.address)
    return tx.hosts.put(host, asked.ttl)


def beat(tx: Tx, name: HostName, lease: int, ttl: timedelta) -> None:
    """Say that the worker lives, and prolong its lease; Ghost when another has taken over."""
    if not tx.hosts.beat(name, lease, ttl):
        message = f"another worker speaks for host {name} now"
        raise Ghost(message, host=name)


def leave(tx: Tx, name: HostName, lease: int) -> None:
    """Give the lease back at a clean stop, so that the next worker need not wait for it."""
    known = tx.hosts.lock(name)
    if known and known[0].lease == lease:
        tx.hosts.put(replace(known[0], lease_until=tx.now), timedelta(0))
        record(tx, "host.left", name, lease=lease)


def list_hosts(tx: Tx) -> list[tuple[Host, bool]]:
    """Every host, and whether a worker speaks for it."""
    return tx.hosts.all()


def _require_free(holder: Host, asked: Registration) -> None:
    if holder.boot_id != asked.boot_id:
        message = f"host name {asked.name} belongs to another machine whose worker is alive; set TUNEYARD_HOST to another name"
        raise Conflict(message, host=asked.name)
    if not asked.sole:
        message = f"a worker for host {asked.name} is already running on this machine"
        raise Conflict(message, host=asked.name)
