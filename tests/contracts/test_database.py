"""What every transaction keeps, on SQLite and on PostgreSQL: all or nothing, the aftermath after it, and a clear word when it cannot be."""

import asyncio
from threading import Event as ThreadEvent

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.util import await_only

from domain.errors import Conflict, Unavailable
from domain.events.actions import events_after, record
from domain.events.event import Place
from domain.messages import LookAtProcess
from domain.projects import actions as projects
from domain.runs import actions
from domain.runs.run import NewRun
from infra.db.database import Database
from infra.db.driver import fixed
from infra.db.transaction import Aftermath, Tx
from tests.contracts.databases import drop_connections, events, happen, keep, opened, told
from tests.house import PATIENCE
from tests.things import HOST, TEMPLATE, a_process, a_project, a_recipe


async def test_an_action_that_fails_leaves_nothing_behind(db: Database, aftermath: list[Aftermath]) -> None:
    def fail(tx: Tx) -> None:
        tx.projects.add(a_project("gone"))
        record(tx, "project.created", "gone")
        tx.wake(HOST, LookAtProcess(a_process().id))
        tx.place_later()
        message = "no"
        raise Conflict(message)

    with pytest.raises(Conflict):
        await db.run(fail)

    assert await db.read(lambda tx: tx.projects.find("gone")) is None
    assert [] == await db.read(events_after, Place(), limit=10)
    assert [] == aftermath


async def test_what_breaks_unforeseen_leaves_nothing_behind_either(db: Database, aftermath: list[Aftermath]) -> None:
    def break_down(tx: Tx) -> None:
        tx.projects.add(a_project("gone"))
        tx.tell("events")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.run(break_down)

    assert await db.read(lambda tx: tx.projects.find("gone")) is None
    assert [] == aftermath


async def test_what_an_action_asked_for_happens_once_and_after_the_commit(db: Database, aftermath: list[Aftermath]) -> None:
    process = a_process()

    def act(tx: Tx) -> int:
        tx.wake(HOST, LookAtProcess(process.id))
        tx.tell("a")
        tx.tell("a")
        tx.place_later()
        return len(aftermath)

    assert 0 == await db.run(act)

    assert [Aftermath([(HOST, LookAtProcess(process.id))], {"a"}, place=True)] == aftermath


async def test_who_acted_and_from_where_is_recorded(db: Database) -> None:
    await db.run(happen, "x")
    await db.acting("host:gpu-1").run(happen, "y")

    assert [("tester", "127.0.0.1"), ("host:gpu-1", None)] == [(event.actor, event.origin) for event in await events(db, 2)]


async def test_fifty_launches_at_once_by_two_servers_are_numbered_without_a_gap(db: Database, database_url: str) -> None:
    project = a_project()
    await db.run(keep, project)

    async with opened(database_url) as other:
        launches = [server.run(actions.launch, "p", NewRun(), a_recipe(), template=TEMPLATE) for server in (db, other) * 25]
        runs = await asyncio.gather(*launches)

    assert [f"run-{number:03}" for number in range(1, 51)] == sorted(run.name for run in runs)
    shown = await db.read(lambda tx: tx.projects.find("p"))
    assert shown is not None
    assert 50 == shown.run_count


async def test_a_reader_does_not_wait_for_a_writer(db: Database, database_url: str) -> None:
    writing, go_on, waiter = asyncio.Event(), ThreadEvent(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def write_slowly(tx: Tx) -> None:
        tx.projects.add(a_project("slow"))
        loop.call_soon_threadsafe(writing.set)
        if database_url.startswith("sqlite"):
            assert go_on.wait(PATIENCE)
        else:
            await_only(waiter.wait())

    slow = asyncio.create_task(db.run(write_slowly))
    await writing.wait()

    assert await db.read(lambda tx: tx.projects.find("slow")) is None

    go_on.set()
    waiter.set()
    await slow
    assert await db.read(lambda tx: tx.projects.find("slow")) is not None


async def test_two_transactions_that_lock_crosswise_both_succeed(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db:
        one, two = a_project("one"), a_project("two")
        await db.run(keep, one, two)
        both_hold_one, tries = asyncio.Barrier(2), 0

        def swap(tx: Tx, first: str, second: str) -> None:
            nonlocal tries
            tries += 1
            tx.projects.lock(first)
            if tries <= 2:
                await_only(both_hold_one.wait())
            tx.projects.count_run(second)

        await asyncio.gather(db.run(swap, "one", "two"), db.run(swap, "two", "one"))

        counts = await db.read(lambda tx: [project.run_count for project in (tx.projects.find("one"), tx.projects.find("two")) if project])
    assert tries > 2
    assert [1, 1] == counts


async def test_connections_that_the_server_dropped_cost_one_answer_at_most(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db:
        await db.run(keep, a_project())

        def use_a_connection(tx: Tx) -> None:
            tx.connection.execute(text("SELECT pg_sleep(0.1)"))

        await asyncio.gather(*(db.read(use_a_connection) for _ in range(8)))

        await drop_connections(postgresql_url)
        found = await db.read(lambda tx: tx.projects.find("p"))
        await drop_connections(postgresql_url)
        with pytest.raises(Unavailable):
            await db.run(lambda tx: tx.projects.lock("p"))
        again = await asyncio.gather(*(db.run(lambda tx: tx.projects.find("p")) for _ in range(8)))

    assert found is not None
    assert all(again)


async def test_what_a_frozen_transaction_holds_is_let_go(postgresql_url: str) -> None:
    soon = "&options=-c%20idle_in_transaction_session_timeout%3D200"
    async with opened(postgresql_url) as db, opened(postgresql_url + soon) as frozen:
        await db.run(keep, a_project())
        held, thawed = asyncio.Event(), asyncio.Event()

        def freeze(tx: Tx) -> None:
            tx.projects.lock("p")
            held.set()
            await_only(thawed.wait())
            tx.projects.add(a_project("ghost"))

        freezing = asyncio.create_task(frozen.run(freeze))
        await held.wait()

        assert await db.run(lambda tx: tx.projects.lock("p")) is not None

        thawed.set()
        with pytest.raises(Unavailable):
            await freezing
        assert await frozen.run(lambda tx: tx.projects.lock("ghost")) is None


async def test_a_commit_that_failed_has_no_aftermath(postgresql_url: str) -> None:
    afterwards: list[Aftermath] = []
    async with opened(postgresql_url, afterwards.append) as db:

        def lose_the_connection(tx: Tx) -> None:
            tx.projects.add(a_project())
            tx.tell("events")
            await_only(drop_connections(postgresql_url))

        with pytest.raises(Unavailable):
            await db.run(lose_the_connection)

        assert await db.read(lambda tx: tx.projects.find("p")) is None
    assert [] == afterwards


@pytest.mark.parametrize("prepared", [True, False])
async def test_what_takes_too_long_is_given_up_quietly_whoever_executes_it(postgresql_url: str, *, prepared: bool) -> None:
    slow = select(func.pg_sleep(5))
    statement = fixed(slow) if prepared else slow
    async with opened(postgresql_url, patience=0.3) as impatient:
        with pytest.raises(Unavailable, match=r"within 0\.3 s"):
            await impatient.read(lambda tx: tx.connection.execute(statement).all())
        assert 1 == await impatient.read(lambda tx: tx.connection.scalar(text("SELECT 1")))


async def test_patience_with_a_slow_database_ends(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db, opened(postgresql_url, patience=0.2) as impatient:
        await db.run(keep, a_project())
        held, enough = asyncio.Event(), asyncio.Event()

        def hold(tx: Tx) -> None:
            tx.projects.lock("p")
            held.set()
            await_only(enough.wait())

        holding = asyncio.create_task(db.run(hold))
        await held.wait()
        with pytest.raises(Unavailable, match="did not answer within 0.2 s"):
            await impatient.run(lambda tx: tx.projects.lock("p"))
        enough.set()
        await holding

        assert await impatient.run(lambda tx: tx.projects.lock("p")) is not None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_servers_that_start_at_once_on_a_fresh_database_all_come_up(kind: str, sqlite_url: str, postgresql: str) -> None:
    url = sqlite_url
    if kind == "postgresql":
        await told(postgresql, "CREATE DATABASE fresh")
        url = postgresql.replace("/postgres?", "/fresh?")

    async def start(number: int) -> str:
        async with opened(url) as db:
            await db.run(keep, a_project(str(number)))
            return (await db.read(projects.get, str(number))).name

    started = await asyncio.gather(*map(start, range(4)))

    assert ["0", "1", "2", "3"] == started
