"""Processes as rows, on both databases: they wait in order, are placed once, and never go back."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.errors import Conflict
from domain.hosts import actions as hosts
from domain.ids import HostName, ProcessId
from domain.processes import actions
from domain.processes.process import NEXT, Phase, Process, Resources
from infra.db.database import Database
from infra.db.transaction import Aftermath, Tx
from tests.contracts.databases import keep, opened
from tests.things import AT, HOST, a_process, a_registration


async def test_a_process_comes_back_as_it_was_kept(db: Database) -> None:
    process = a_process(
        phase=Phase.alive,
        attempt=2,
        argv=["bash", "", "it's", '"', "名 前", "\n", "$(id)"],
        executor="local",
        resources=Resources(gpu_type="H100", gpu_count=8),
        priority=-3,
        host=HOST,
        folder="f",
        gpus=["GPU-1", "GPU-2"],
        not_before=AT,
        log_offset=2**40,
        report_offset=2**41,
        pid=2**22,
        start_ticks=2**50,
        boot_id="boot",
    )

    await db.run(keep, process)

    assert process == await db.read(lambda tx: tx.processes.get(process.id))
    assert process == await db.read(lambda tx: tx.processes.of(process.owner_id))
    assert process == await db.run(lambda tx: tx.processes.lock(process.id))
    assert await db.read(lambda tx: tx.processes.get(ProcessId("proc_0"))) is None


async def test_the_waiting_are_shown_by_priority_and_then_by_age(db: Database) -> None:
    old, young, urgent = (a_process(created_at=AT + timedelta(seconds=after), priority=rank) for after, rank in ((1, 0), (2, 0), (3, 1)))
    placed, later = a_process(phase=Phase.placed, host=HOST, priority=9), a_process(not_before=AT + timedelta(days=1), priority=9)
    await db.run(keep, young, placed, urgent, old, later)

    assert [urgent.id, old.id, young.id] == [wish.process_id for wish in await db.read(lambda tx: tx.processes.wishes(AT))]
    assert later.id == (await db.read(lambda tx: tx.processes.wishes(AT + timedelta(days=1))))[0].process_id
    ahead, count = await db.read(lambda tx: tx.processes.ahead_of(young, 2))
    assert ([later.id, urgent.id], 3) == ([wish.process_id for wish in ahead], count)
    assert ([], 0) == await db.read(lambda tx: tx.processes.ahead_of(later, 2))


async def test_a_host_has_on_hand_what_was_placed_there_and_is_not_over(db: Database) -> None:
    elsewhere = a_process(phase=Phase.alive, host=HostName("gpu-2"))
    here = [a_process(phase=phase, host=HOST, created_at=AT + timedelta(seconds=phase is Phase.alive)) for phase in Phase]
    await db.run(keep, elsewhere, *here)

    found = await db.read(actions.on_hand, HOST)

    assert {Phase.placed, Phase.starting, Phase.alive} == {process.phase for process in found}
    assert Phase.alive is found[-1].phase
    assert {HOST: 3, HostName("gpu-2"): 1} == await db.read(lambda tx: tx.processes.living())


async def test_only_what_waits_is_given_a_host(db: Database) -> None:
    waiting, over = a_process(), a_process(phase=Phase.over)
    await db.run(keep, waiting, over)

    assert [True, False] == await db.run(lambda tx: [tx.processes.give(each.id, HOST, ["GPU-1"]) for each in (waiting, over)])

    placed = await db.read(lambda tx: tx.processes.of(waiting.owner_id))
    assert (Phase.placed, HOST, ["GPU-1"]) == (placed.phase, placed.host, placed.gpus)


async def test_the_next_attempt_is_kept_over_a_living_row_once(db: Database) -> None:
    process, over = a_process(phase=Phase.alive, host=HOST, log_offset=7), a_process(phase=Phase.over)
    await db.run(keep, process, over)
    again = process.again(AT, after=timedelta(seconds=10), folder="f")

    await db.run(lambda tx: tx.processes.save_again(again))

    kept = await db.read(lambda tx: tx.processes.of(process.owner_id))
    assert again == kept
    assert (Phase.waiting, 2, 0, None) == (kept.phase, kept.attempt, kept.log_offset, kept.host)
    for stale in (again, replace(over, attempt=2, phase=Phase.waiting)):
        with pytest.raises(Conflict, match="is over, or has had attempt 2 already"):
            await db.run(lambda tx: tx.processes.save_again(stale))  # noqa: B023 - run at once


@pytest.mark.parametrize(("to", "report_to"), [(20, 5), (20, 0), (10, 5)])
async def test_of_many_who_move_the_offsets_one_does(db: Database, to: int, report_to: int) -> None:
    process = a_process(log_offset=10)
    await db.run(keep, process)

    moved = await asyncio.gather(*(db.run(lambda tx: tx.processes.advance(process, to=to, report_to=report_to)) for _ in range(5)))

    assert [False] * 4 + [True] == sorted(moved)
    after = await db.read(lambda tx: tx.processes.of(process.owner_id))
    assert (to, report_to) == (after.log_offset, after.report_offset)


async def test_a_stale_process_is_never_written_over_one_that_went_further(db: Database) -> None:
    steps = [(before, after) for before in Phase for after in Phase]
    processes = {step: a_process(phase=step[0]) for step in steps}
    await db.run(keep, *processes.values())

    def write(tx: Tx, stale: Process) -> None:
        tx.processes.save(stale)

    allowed = {(before, after) for before, after in steps if after is before or after in NEXT[before]}
    for (before, after), process in processes.items():
        stale = replace(process, phase=after)
        if (before, after) in allowed:
            await db.run(write, stale)
            continue
        with pytest.raises(Conflict, match=f"has meanwhile gone further than {after}"):
            await db.run(write, stale)


async def test_postgresql_itself_refuses_what_goes_backwards(postgresql_url: str) -> None:
    async with opened(postgresql_url) as db:
        process, attempt = a_process(phase=Phase.over), a_process(phase=Phase.alive, attempt=2)
        await db.run(keep, process, attempt)

        def write(tx: Tx, row: Process, phase: str, number: int) -> None:
            values = {"phase": phase, "attempt": number, "id": row.id}
            tx.connection.execute(text("UPDATE processes SET phase = :phase, attempt = :attempt WHERE id = :id"), values)

        for row, phase, number in ((process, "alive", 1), (process, "waiting", 2), (attempt, "over", 1), (attempt, "placed", 2)):
            with pytest.raises(DBAPIError, match="may not go from attempt"):
                await db.run(write, row, phase, number)
        await db.run(write, attempt, "waiting", 3)

        assert Phase.waiting is (await db.read(lambda tx: tx.processes.of(attempt.owner_id))).phase


async def test_twenty_that_wait_are_placed_once_each_as_slots_allow(db: Database, database_url: str, aftermath: list[Aftermath]) -> None:
    await db.run(hosts.register, a_registration(slots=8))
    waiting = [a_process() for _ in range(20)]
    await db.run(keep, *waiting)
    aftermath.clear()

    async with opened(database_url, aftermath.append) as other:
        placed = await asyncio.gather(*(server.run(actions.place) for server in (db, other) * 5))

    assert 8 == sum(placed)
    rung = [message.process_id for each in aftermath for _, message in each.wakes]
    on_hand = await db.read(actions.on_hand, HOST)
    assert sorted(process.id for process in on_hand) == sorted(rung)
    assert {Phase.placed} == {process.phase for process in on_hand}


async def test_nothing_is_placed_where_no_worker_speaks(db: Database) -> None:
    host = await db.run(hosts.register, a_registration())
    await db.run(hosts.leave, HOST, host.lease)
    process = a_process()
    await db.run(keep, process)

    assert 0 == await db.run(actions.place)
