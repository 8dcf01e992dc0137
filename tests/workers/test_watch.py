"""A command whose shim was killed: when it ended is seen once, however often its worker is replaced."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from domain.processes.condition import ConditionName
from domain.processes.ports import Executor, Sight
from workers.watch import LOOK_SECONDS, Watchman

MINUTE = 60.0


class Ended:
    """An executor (as far as a watchman asks it) of a command that has ended, without an exit record and without its shim."""

    async def shim_lives(self, _: str) -> bool:
        return False

    async def command_lives(self, _: str) -> bool:
        return False

    async def look(self, _: str) -> Sight:
        return Sight(started=True, alive=True, pid=1)


class Told:
    """Whom a watchman tells."""

    noun = "training"

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    async def note(self, name: ConditionName, reason: str | None) -> None:
        assert (ConditionName.shim_lost, True) == (name, bool(reason))
        self.lost.set()


async def ended_at(directory: Path) -> float:
    """Watch as a new worker does, until it has seen the end."""
    told = Told()
    watchman = Watchman(str(directory), told)
    watching = asyncio.create_task(watchman.watch(cast("Executor", cast("Any", Ended()))))
    async with asyncio.timeout(LOOK_SECONDS / 2):  # it looks at once
        await told.lost.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert watchman.ended_at is not None
    return watchman.ended_at


async def test_the_end_is_when_the_first_worker_saw_it(tmp_path: Path) -> None:
    first = await ended_at(tmp_path)
    os.utime(tmp_path / "over", (first - MINUTE, first - MINUTE))

    assert first == pytest.approx(time.time(), abs=MINUTE / 2)
    assert first - MINUTE == pytest.approx(await ended_at(tmp_path), abs=1)


async def test_a_disk_that_takes_no_file_more_lets_each_worker_see_it_anew(tmp_path: Path) -> None:
    assert time.time() == pytest.approx(await ended_at(tmp_path / "nowhere"), abs=MINUTE)
