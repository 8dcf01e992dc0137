"""Stopping a command that may not want to: it is asked, given its grace, asked again, then killed with all its children.

The grace runs on this host's own clock from the moment the wish was written; so the kill comes with the database dead too.
"""

import logging
import signal
import time
from datetime import UTC, datetime

from domain.processes.ports import Executor
from domain.processes.process import Process

log = logging.getLogger(__name__)

LAST_WORD_SECONDS = 2.0
"""Between the second TERM, at the end of the grace, and the KILL."""


class Stop:
    """How far one attempt has been pressed to stop; a worker that adopts it begins with the first word again."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._words = 0
        self._asked: float | None = None

    async def press(self, executor: Executor, process: Process) -> None:
        """Do what is due now: the first TERM at once, the second after the grace, then KILL to the whole tree."""
        passed = self._passed(process)
        grace = process.stop_grace or 0.0
        due = 1 + (passed >= grace)
        if passed >= grace + LAST_WORD_SECONDS:
            left = await executor.kill(self._directory)
            if left:
                log.error("process %s: pids %s cannot be killed", process.id, left)
        elif self._words < due:
            await executor.ask_to_stop(self._directory)
            if await executor.signal(self._directory, signal.SIGTERM):
                self._words = due

    def _passed(self, process: Process) -> float:
        """Return the seconds since the wish, by a clock that nobody sets."""
        if self._asked is None:
            since = datetime.now(UTC) - (process.stop_asked_at or datetime.now(UTC))
            self._asked = time.monotonic() - max(since.total_seconds(), 0.0)
        return time.monotonic() - self._asked
