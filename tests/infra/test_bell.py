"""The bell: whoever rings reaches the host's worker at once, and a Redis that is gone costs nobody anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.ids import HostName, ProcessId
from domain.messages import LookAtProcess
from infra import embedded, tasks
from infra.queue.bell import Bell, connect, doorbell_of, queue_of
from tests.house import PATIENCE
from workers.doorbell import answer_bell

ONE, TWO = HostName("gpu-1"), HostName("主机-2")

# A pipeline that arq has under way when it is ended is left to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Listener:
    """Stands where the supervisor stands: it hears which process to look at."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[ProcessId] = asyncio.Queue()

    def look(self, process_id: ProcessId) -> None:
        self.heard.put_nowait(process_id)

    async def next(self) -> ProcessId:
        async with asyncio.timeout(PATIENCE):
            return await self.heard.get()


@asynccontextmanager
async def listening(host: HostName, url: str) -> AsyncIterator[Listener]:
    """Answer the bell as a host's worker does."""
    listener: Any = Listener()
    answering = asyncio.create_task(answer_bell(host, url, listener))
    try:
        yield listener
    finally:
        await tasks.end([answering])


@asynccontextmanager
async def ringing(url: str | None) -> AsyncIterator[Bell]:
    bell = Bell(url)
    try:
        yield bell
    finally:
        await bell.close()


def wake(host: HostName, number: int) -> tuple[HostName, LookAtProcess]:
    return host, LookAtProcess(ProcessId(f"proc_{number}"))


async def test_a_ring_reaches_its_host_and_no_other(redis_url: str) -> None:
    async with ringing(redis_url) as bell, listening(ONE, redis_url) as one, listening(TWO, redis_url) as two:
        bell.ring_soon([wake(ONE, 1), wake(TWO, 2), wake(ONE, 3)])

        assert ["proc_1", "proc_3"] == sorted([await one.next(), await one.next()])
        assert "proc_2" == await two.next()
        assert one.heard.empty()
        assert two.heard.empty()


async def test_a_ring_before_the_worker_listens_is_heard_when_it_does(redis_url: str) -> None:
    host = HostName("late")
    async with ringing(redis_url) as bell:
        bell.ring_soon([wake(host, 1)])

    async with listening(host, redis_url) as listener:
        assert "proc_1" == await listener.next()


async def test_only_words_travel_and_never_code(redis_url: str) -> None:
    host = HostName("quiet")
    async with ringing(redis_url) as bell:
        bell.ring_soon([wake(host, 1)])

    redis = connect(redis_url)
    (job,) = await redis.zrange(queue_of(host), 0, -1)
    stored = await redis.get(b"arq:job:" + job)
    await redis.aclose()

    assert stored is not None
    assert [{"type": "process", "process_id": "proc_1"}] == msgspec.msgpack.decode(stored)["a"]


async def test_without_a_redis_the_bell_is_silent() -> None:
    async with ringing(None) as bell:
        bell.ring_soon([wake(ONE, 1)])

        assert "off" == await bell.health()


async def test_a_redis_that_died_is_missed_once_and_rings_again_when_it_is_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with embedded.redis(tmp_path) as redis:
        url = redis.url
    async with ringing(url) as bell, listening(ONE, url) as listener:
        for number in range(3):
            bell.ring_soon([wake(ONE, number)])
        await logged(caplog, "the bell cannot be rung")
        await logged(caplog, "the bell is out of order")
        assert "down" == await bell.health()

        with embedded.redis(tmp_path):
            assert "ok" == await bell.health()
            bell.ring_soon([wake(ONE, 9)])
            assert "proc_9" == await listener.next()

    assert 1 == sum("the bell cannot be rung" in record.message for record in caplog.records)


def test_every_host_has_a_queue_and_a_channel_of_its_own() -> None:
    assert 4 == len({queue_of(ONE), queue_of(TWO), doorbell_of(ONE), doorbell_of(TWO)})


async def logged(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if words in caplog.text:
                return
            await asyncio.sleep(0.01)
