"""Stopping a command that may not want to: it is asked, given its grace, asked again, then killed with all its children.

The grace runs from the moment the command was first asked, by this host's own clock: so the kill comes with the database dead too, and
neither a server whose clock is wrong nor a worker that came late takes the time away that the command needs to save.
"""

import logging
import os
import signal
import time

from domain.processes.ports import Executor
from domain.processes.process import Process

log = logging.getLogger(__name__)

LAST_WORD_SECONDS = 2.0
"""Between the second TERM, at the end of the grace, and the KILL."""


MOST_KILLS = 3
"""How often a tree is killed, two seconds each, before what is left of it counts as unkillable."""


class Stop:
    """How far one attempt has been pressed to stop; a worker that adopts it begins with the first word again, but not with the grace."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._words = 0
        self._left_file = False
        self._kills = 0
        self._asked: float | None = None

    async def press(self, executor: Executor, process: Process) -> list[int]:
        """Do what is due now: the first TERM once it has drained, the second after the grace, then KILL to the whole tree; see `kill`.

        A server gets the first for itself, and stops its children when it has answered; the second is for all.

        What is not to be killed gets one TERM, and all the time it wants.
        """
        passed = self._passed()
        end_of_grace = process.stop_drain + (process.stop_grace or 0.0)
        if process.stop_kill and passed >= end_of_grace + LAST_WORD_SECONDS:
            return await self.kill(executor)
        due = (passed >= process.stop_drain) + (process.stop_kill and passed >= end_of_grace)
        if self._words < due or not self._left_file:
            await self._leave_file(executor)
        alone = process.owner_kind.stops_alone and due == 1
        if self._words < due and await executor.signal(self._directory, signal.SIGTERM, alone=alone):
            self._words = due
        return []

    async def kill(self, executor: Executor) -> list[int]:
        """KILL the whole tree; the pids that have not gone after several attempts, and so never will."""
        left = await executor.kill(self._directory)
        self._kills = self._kills + 1 if left else 0
        if self._kills < MOST_KILLS:
            return []
        log.error("%s: pids %s cannot be killed", self._directory, left)
        return left

    async def _leave_file(self, executor: Executor) -> None:
        self._left_file = True
        try:
            await executor.ask_to_stop(self._directory)
        except OSError as problem:  # a disk that takes no file more
            log.warning("%s: no stop file (%s); the command is stopped by signals alone", self._directory, problem.strerror)

    def _passed(self) -> float:
        """Return the seconds since the command was first asked, by a clock that nobody sets."""
        if self._asked is None:
            self._asked = time.monotonic() - self._passed_before()
        return time.monotonic() - self._asked

    def _passed_before(self) -> float:
        """Return the seconds since another worker first asked it: the age of the file that it left."""
        try:
            return max(time.time() - os.stat(f"{self._directory}/stop").st_mtime, 0.0)  # noqa: PTH116 - a str is at hand
        except OSError:
            return 0.0
