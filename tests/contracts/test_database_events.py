"""The record on both databases: every committed change, in one order, and no reader ever skips one."""

import asyncio
import random

import pytest
from sqlalchemy.util import await_only

from domain.errors import Conflict
from domain.events.actions import events_after, newest_place, record
from domain.events.event import Event, Place
from infra.db.database import Database
from infra.db.transaction import Tx
from tests.contracts.databases import events, happen, opened
from tests.house import PATIENCE

WRITERS, EACH = 8, 25


async def test_an_event_says_who_did_what_to_which_thing(db: Database) -> None:
    data = {"z": "中文 🎉", "a": {"b": None, "a": [1, 2.5]}}
    await db.run(lambda tx: record(tx, "run.launched", "run_1", project="proj_1", **data))

    (event,) = await events(db, 1)

    assert ("tester", "127.0.0.1") == (event.actor, event.origin)
    assert ("run.launched", "run_1", "proj_1", data) == (event.kind, event.subject, event.project_id, event.data)
    assert ["z", "a"] == list(event.data)
    assert ["b", "a"] == list(event.data["a"])


async def test_the_record_is_read_on_from_any_place(db: Database) -> None:
    for number in range(6):
        await db.run(happen, str(number), project="proj_1" if number % 2 else None)
    everything = await events(db, 6)

    assert list("012345") == [event.subject for event in everything]
    for index, event in enumerate(everything):
        assert everything[index + 1 : index + 3] == await db.read(events_after, event.place, limit=2)
    assert list("135") == [event.subject for event in await db.read(events_after, Place(), limit=9, project="proj_1")]
    assert everything[-1].place == await db.read(newest_place)
    assert everything[3].place == Place.parse(str(everything[3].place))


async def test_an_empty_record_begins_at_the_beginning(db: Database) -> None:
    assert Place() == await db.read(newest_place)


async def test_an_event_is_committed_or_rolled_back_with_its_change(db: Database) -> None:
    def fail(tx: Tx) -> None:
        record(tx, "thing.changed", "never")
        message = "no"
        raise Conflict(message)

    with pytest.raises(Conflict):
        await db.run(fail)
    await db.run(happen, "once")

    assert ["once"] == [event.subject for event in await events(db, 1)]


async def test_several_events_of_one_transaction_stay_in_their_order(db: Database) -> None:
    def several(tx: Tx) -> None:
        for subject in "abc":
            record(tx, "thing.changed", subject)

    await db.run(several)

    assert list("abc") == [event.subject for event in await events(db, 3)]


async def test_a_slow_transaction_that_took_its_id_early_is_not_skipped(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db:
        wrote, go_on = asyncio.Event(), asyncio.Event()

        def write_slowly(tx: Tx) -> None:
            record(tx, "thing.changed", "slow")
            wrote.set()
            await_only(go_on.wait())

        slow = asyncio.create_task(db.run(write_slowly))
        await wrote.wait()
        await db.run(happen, "quick")

        while_it_is_open = await db.read(events_after, Place(), limit=9)
        newest = await db.read(newest_place)
        go_on.set()
        await slow
        seen = await events(db, 2, newest)

    assert [] == while_it_is_open
    assert ["slow", "quick"] == [event.subject for event in seen]
    assert seen[0].id < seen[1].id


async def test_readers_see_every_event_of_many_writers_once_and_in_one_order(db: Database) -> None:
    async def write(writer: int) -> list[str]:
        chance = random.Random(writer)
        kept = []
        for number in range(EACH):
            subjects = [f"{writer}-{number}-{part}" for part in range(chance.randint(1, 3))]
            try:
                await db.run(write_and_dawdle, subjects, fails=chance.random() < 0.2)
            except Conflict:
                continue
            kept += subjects
        return kept

    async def follow() -> list[Event]:
        place = Place()
        seen: list[Event] = []
        end = asyncio.get_running_loop().time() + PATIENCE
        while not writing.done() or (len(seen) < len(all_kept(writing.result())) and asyncio.get_running_loop().time() < end):
            batch = await db.read(events_after, place, limit=7)
            seen += batch
            place = batch[-1].place if batch else place
            await asyncio.sleep(0)
        return seen

    writing = asyncio.ensure_future(asyncio.gather(*map(write, range(WRITERS))))
    one, two = await asyncio.gather(follow(), follow())

    kept = all_kept(await writing)
    assert sorted(kept) == sorted(event.subject for event in one)
    assert one == two
    for writer in range(WRITERS):
        own = [event.subject for event in one if event.subject.startswith(f"{writer}-")]
        assert [subject for subject in kept if subject.startswith(f"{writer}-")] == own


def write_and_dawdle(tx: Tx, subjects: list[str], *, fails: bool) -> None:
    """Write events with pauses between, so that transactions overlap (on PostgreSQL; on SQLite they come one at a time)."""
    for subject in subjects:
        record(tx, "thing.changed", subject)
        if tx.connection.dialect.name == "postgresql":
            await_only(asyncio.sleep(random.random() / 200))
    if fails:
        message = "no"
        raise Conflict(message)


def all_kept(kept: list[list[str]]) -> list[str]:
    return [subject for each in kept for subject in each]
