"""Watching over a command while it lives: whether the shim still lives that will record its end."""

import asyncio
import logging
import os
import time
from typing import Protocol

from domain.errors import Ghost, Unavailable
from domain.processes.condition import ConditionName
from domain.processes.ports import Executor

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class Watched(Protocol):
    """Whoever is to be told what is the matter."""

    @property
    def noun(self) -> str:
        """What a person calls the command."""
        ...

    async def note(self, name: ConditionName, reason: str | None) -> None:
        """Note it; saying it twice changes nothing."""
        ...


class Watchman:
    """Notes that a shim is lost, and sees the end that no exit record will tell of."""

    def __init__(self, directory: str, watched: Watched) -> None:
        self._directory = directory
        self._watched = watched
        self.ended_at: float | None = None
        """When, in seconds since the epoch, a worker first saw that a command whose shim is lost had ended: no exit record will tell."""

    async def watch(self, executor: Executor) -> None:
        """Look now, for this worker too may be gone soon, and every two seconds until cancelled."""
        while True:
            try:
                await self._look(executor)
            except Unavailable as problem:
                log.warning("%s: %s; it is looked at again", self._directory, problem.detail)
            except Ghost:
                return
            except Exception:
                log.exception("%s could not be watched; it is tried again", self._directory)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, executor: Executor) -> None:
        """What has only just been started has no shim yet, and what has just ended has none any more; in between somebody killed it."""
        if (await executor.look(self._directory)).pid is None or await executor.shim_lives(self._directory) is not False:
            return
        if (await executor.look(self._directory)).exit is not None:
            return
        if self.ended_at is None and await executor.command_lives(self._directory) is False:
            self.ended_at = _first_seen(self._directory)
        await self._watched.note(ConditionName.shim_lost, _shim_lost(self._watched.noun))


def _first_seen(directory: str) -> float:
    """Return when the file was made that the first to see it left: else every new worker would begin to be patient anew."""
    path = f"{directory}/over"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return os.stat(path).st_mtime  # noqa: PTH116 - a str is at hand
    except OSError:  # a disk that takes no file more
        return time.time()


def _shim_lost(noun: str) -> str:
    return (
        f"监护进程已丢失 the shim that records the end of this {noun} was killed; the {noun} goes on, but its exit code will not be known"
    )
