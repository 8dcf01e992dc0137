"""Placement under fire: many place, cancel and end at once, and no GPU is ever given twice, none is left behind."""

import asyncio
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from msgspec import Struct
from sqlalchemy import text

from domain.errors import Conflict, Ghost
from domain.hosts import actions as hosts
from domain.hosts.gpu import SeenGpu
from domain.ids import HostName, ProcessId, RunId
from domain.processes import actions
from domain.processes.process import Phase, Process, Resources
from domain.projects import actions as projects
from domain.projects.project import ProjectCreate
from domain.runs import actions as runs
from domain.runs import hosting
from domain.runs.run import NewRun
from infra.db.database import Database
from tests.contracts.databases import keep, opened
from tests.contracts.lives import AN_INSTANT, Speaker, ending
from tests.things import AT, HOST, TEMPLATE, a_process, a_recipe, a_registration

HANDS, PLACERS, CANCELLERS = 10, 15, 25
RUNS = 200
LONGEST = 120
"""Seconds, on a machine that others use too; alone it takes seven."""


class Floor(Struct):
    """What the hosts of a test really use, and what they were given over time."""

    used: dict[tuple[HostName, str], ProcessId] = {}
    taken: list[ProcessId] = []

    def begin(self, host: HostName, process: Process) -> None:
        """Use what a process was given; nobody else may be using it."""
        self.taken.append(process.id)
        for gpu in process.gpus:
            other = self.used.setdefault((host, gpu), process.id)
            assert process.id == other, f"GPU {gpu} of {host} was given to {process.id} while {other} uses it"

    def end(self, process: Process) -> None:
        """Let go of all that it uses."""
        self.used = {gpu: user for gpu, user in self.used.items() if user != process.id}


def gpus(count: int) -> list[SeenGpu]:
    return [SeenGpu(number=number, type="A100") for number in range(count)]


@pytest.mark.timeout(LONGEST + 30)
async def test_fifty_that_place_cancel_and_end_at_once_give_no_gpu_twice_and_leave_none_behind(postgresql_url: str) -> None:
    chance = random.Random(7)
    floor = Floor()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(opened(postgresql_url, patience=LONGEST)) for _ in range(4)]
        await servers[0].run(projects.create, ProjectCreate(name="p"))
        speakers = [await registered(servers[0], HostName(f"gpu-{number}")) for number in range(HANDS)]
        launched = [await launch(servers[0], chance.randrange(5)) for _ in range(RUNS)]
        over = asyncio.Event()
        busy = [
            *(hand(servers[number % 4], speaker, floor, over) for number, speaker in enumerate(speakers)),
            *(cancel_some(servers[number % 4], chance.sample(launched, 2)) for number in range(CANCELLERS)),
            when_all_are_over(servers[0], over),
        ]
        placing = asyncio.gather(*(place_until(servers[number % 4], over) for number in range(PLACERS)))
        async with asyncio.timeout(LONGEST):
            await asyncio.gather(*busy)
            placed = sum(await placing)

        processes = await servers[0].read(lambda tx: [tx.processes.of(run) for run in launched])
        assert {Phase.over} == {process.phase for process in processes}
        assert placed == sum(process.host is not None for process in processes)
        assert len(floor.taken) == len(set(floor.taken)) > RUNS / 4
        assert {None} == {gpu.holder for gpu in await servers[0].read(lambda tx: tx.gpus.all())}
        assert {} == await servers[0].read(lambda tx: tx.processes.living())


async def test_a_thousand_that_no_host_can_ever_satisfy_hide_nobody(db: Database) -> None:
    await db.run(hosts.register, a_registration(gpus=gpus(2)))
    hopeless = [a_process(resources=Resources(gpu_count=8), priority=9) for _ in range(1_000)]
    fitting = a_process(resources=Resources(gpu_count=1), created_at=AT + timedelta(days=1))
    await db.run(keep, *hopeless, fitting)

    assert 1 == await db.run(actions.place)

    placed = await db.read(lambda tx: tx.processes.of(fitting.owner_id))
    assert (Phase.placed, HOST, ["0"]) == (placed.phase, placed.host, placed.gpus)
    assert 1_000 == len(await db.read(lambda tx: tx.processes.wishes(AT)))


async def registered(db: Database, name: HostName) -> Speaker:
    host = await db.run(hosts.register, a_registration(name, slots=3, gpus=gpus(4), ttl=timedelta(seconds=LONGEST)))
    return Speaker(name, host.lease)


async def launch(db: Database, count: int) -> RunId:
    asked = NewRun(resources=Resources(gpu_count=count))
    return (await db.run(runs.launch, "p", asked, a_recipe(), template=TEMPLATE)).id


async def place_until(db: Database, over: asyncio.Event) -> int:
    """Place again and again; how many were placed."""
    placed = 0
    while not over.is_set():
        placed += await db.run(actions.place)
    return placed


async def cancel_some(db: Database, some: Iterable[RunId]) -> None:
    for run in some:
        try:
            await db.run(runs.cancel, "p", run, grace=AN_INSTANT)
        except Conflict:
            continue  # it has ended already


async def hand(db: Database, speaker: Speaker, floor: Floor, over: asyncio.Event) -> None:
    """Take whatever is placed on a host, use it for a while, and end it, as its worker does."""
    chance = random.Random(speaker.name)
    while not over.is_set():
        for process in await db.read(actions.on_hand, speaker.name):
            if process.phase is Phase.placed:
                await take(db, process.id, speaker, floor)
            elif chance.random() < 1 / 3:
                floor.end(process)
                await db.run(hosting.freed, process.id, speaker, [])
                await db.run(hosting.ended, process.id, speaker, ending(0), backoff=AN_INSTANT)


async def take(db: Database, process_id: ProcessId, speaker: Speaker, floor: Floor) -> None:
    try:
        run, process = await db.run(hosting.take, process_id, speaker)
    except (Conflict, Ghost):
        return  # it was cancelled before it was taken
    if process.phase is Phase.starting:
        floor.begin(speaker.name, process)
        assert run.gpus == process.gpus


async def when_all_are_over(db: Database, over: asyncio.Event) -> None:
    living = text("SELECT count(*) FROM processes WHERE phase <> 'over'")
    while not over.is_set():
        if not await db.read(lambda tx: tx.connection.scalar(living)):
            over.set()
