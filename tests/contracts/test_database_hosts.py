"""Hosts and their leases as rows, on both databases: who may speak for a host, and who may not any more."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.util import await_only

from domain.errors import Conflict, Ghost
from domain.hosts import actions
from domain.hosts.host import Host
from infra.db.database import Database
from infra.db.hosts import HostRows
from infra.db.transaction import Tx
from tests.contracts.databases import blocked, events, opened
from tests.things import HOST, a_host, a_registration

AN_HOUR = timedelta(hours=1)


def plain(host: Host) -> dict[str, object]:
    """Everything but the lease's end, which is the database's to say."""
    return {name: getattr(host, name) for name in host.__struct_fields__ if name != "lease_until"}


async def test_a_host_comes_back_as_it_was_put_and_put_again(db: Database) -> None:
    host, changed = a_host("主机-1"), a_host("主机-1", lease=2, accepting=False, slots=3)

    await db.run(lambda tx: tx.hosts.put(host, AN_HOUR))
    first = await db.read(lambda tx: tx.hosts.all())
    await db.run(lambda tx: tx.hosts.put(changed, timedelta(0)))
    second = await db.read(lambda tx: tx.hosts.all())

    assert [(plain(host), True)] == [(plain(each), live) for each, live in first]
    assert [(plain(changed), False)] == [(plain(each), live) for each, live in second]
    assert (plain(changed), False) == (plain((locked := await lock(db, host.id))[0]), locked[1])


async def test_hosts_are_listed_by_name(db: Database) -> None:
    await db.run(lambda tx: [tx.hosts.put(a_host(name), AN_HOUR) for name in ("b", "a", "c")])

    assert ["a", "b", "c"] == [host.id for host, _ in await db.read(lambda tx: tx.hosts.all())]


async def test_a_worker_of_another_machine_is_refused_while_the_lease_is_live(db: Database) -> None:
    await db.run(actions.register, a_registration())

    with pytest.raises(Conflict, match="host name gpu-1 belongs to another machine whose worker is alive; set TUNEYARD_HOST"):
        await db.run(actions.register, a_registration(boot_id="other"))


async def test_a_second_worker_of_the_same_machine_takes_over_only_from_a_dead_one(db: Database) -> None:
    first = await db.run(actions.register, a_registration())

    with pytest.raises(Conflict, match="a worker for host gpu-1 is already running on this machine"):
        await db.run(actions.register, a_registration(sole=False))
    second = await db.run(actions.register, a_registration(sole=True))

    assert (1, 2) == (first.lease, second.lease)
    with pytest.raises(Ghost, match="another worker speaks for host gpu-1 now"):
        await db.run(actions.beat, HOST, first.lease, AN_HOUR, [])
    await db.run(actions.beat, HOST, second.lease, AN_HOUR, [])


async def test_anybody_may_take_over_when_the_lease_was_given_back(db: Database) -> None:
    first = await db.run(actions.register, a_registration())

    await db.run(actions.leave, HOST, first.lease)
    second = await db.run(actions.register, a_registration(boot_id="other", sole=False))
    await db.run(actions.leave, HOST, first.lease)

    assert 2 == second.lease
    assert (2, True) == ((held := await lock(db, HOST))[0].lease, held[1])
    assert ["host.registered", "host.left", "host.registered"] == [event.kind for event in await events(db, 3)]


async def test_of_workers_that_register_at_once_one_speaks(db: Database) -> None:
    hosts = await asyncio.gather(*(db.run(actions.register, a_registration()) for _ in range(6)), return_exceptions=True)

    leases = [host.lease for host in hosts if isinstance(host, Host)]
    assert len(leases) == len(set(leases))
    current = (await lock(db, HOST))[0].lease
    assert current == max(leases)


async def test_what_a_ghost_wants_to_write_is_refused(db: Database) -> None:
    host = await db.run(actions.register, a_registration())

    def hold(tx: Tx, lease: int) -> None:
        tx.hosts.hold(HOST, lease)

    def beat(tx: Tx, lease: int) -> bool:
        return tx.hosts.beat(HOST, lease, AN_HOUR)

    await db.run(hold, host.lease)

    for lease in (0, 2):
        with pytest.raises(Ghost):
            await db.run(hold, lease)
        assert not await db.run(beat, lease)


async def test_a_lease_cannot_pass_on_while_a_transaction_holds_it(postgresql_url: str) -> None:
    order: list[str] = []
    async with opened(postgresql_url) as db:
        host = await db.run(actions.register, a_registration())
        held, taking = asyncio.Event(), asyncio.Event()

        def write(tx: Tx) -> None:
            tx.hosts.hold(HOST, host.lease)
            held.set()
            await_only(taking.wait())
            await_only(blocked(db))
            order.append("written")

        async def take_over() -> None:
            await held.wait()
            taking.set()
            await db.run(actions.register, a_registration())
            order.append("taken over")

        await asyncio.gather(db.run(write), take_over())

    assert ["written", "taken over"] == order


async def test_a_beat_does_not_wait_for_those_who_write_under_its_lease(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db, opened(postgresql_url, patience=1) as impatient:
        host = await db.run(actions.register, a_registration())
        held, beaten = asyncio.Event(), asyncio.Event()

        def write(tx: Tx) -> None:
            tx.hosts.hold(HOST, host.lease)
            held.set()
            await_only(beaten.wait())

        writing = asyncio.create_task(db.run(write))
        await held.wait()
        await impatient.run(actions.beat, HOST, host.lease, AN_HOUR, [])
        beaten.set()
        await writing


async def test_only_the_clock_of_the_database_counts(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db:
        await db.run(actions.register, a_registration())

        def look_an_hour_later(tx: Tx) -> list[bool]:
            return [live for _, live in HostRows(tx.connection, tx.now + AN_HOUR).all()]

        def beat_an_hour_ago(tx: Tx) -> bool:
            return HostRows(tx.connection, tx.now - AN_HOUR).beat(HOST, 1, timedelta(seconds=15))

        assert [True] == await db.read(look_an_hour_later)
        assert await db.run(beat_an_hour_ago)
        assert [True] == [live for _, live in await db.read(lambda tx: tx.hosts.all())]


async def lock(db: Database, name: str) -> tuple[Host, bool]:
    found = await db.run(lambda tx: tx.hosts.lock(a_host(name).id))
    assert found is not None
    return found
