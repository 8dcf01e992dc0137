"""Errors of our own at one process: they may pass, so what broke is done again; one that stays must not keep the process from its end."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from domain.errors import DomainError
from domain.processes.ports import Broken, CannotStart

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST = 5
"""An error that comes so often without a break stays."""
MOST_AT_THE_END = 10
"""After so many, a minute later, what is over is settled without what breaks."""
PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before what broke is done again: at first, and after some doublings."""
MOST_DOUBLINGS = 5
FORESEEN = (DomainError, CannotStart)


class Faults:
    """Those of one process, in a row."""

    def __init__(self, of: str) -> None:
        self._of = of
        self._count = 0

    @property
    def stay(self) -> bool:
        """Whether a person should know of them."""
        return self._count >= MOST

    @property
    def last(self) -> bool:
        """Whether there is no point in waiting for the end of them."""
        return self._count >= MOST_AT_THE_END

    def passed(self) -> None:
        """Know that it works."""
        self._count = 0

    def bear(self, fault: Exception) -> float:
        """Log one; how many seconds to let go by."""
        self._count += 1
        log.error("%s: Tuneyard itself broke; it is tried again", self._of, exc_info=fault)
        return min(PAUSE * 2.0 ** min(max(self._count - MOST, 0), MOST_DOUBLINGS), LONGEST_PAUSE)

    async def insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step until it does not break; Broken when the error stays."""
        while True:
            try:
                done = await step()
            except FORESEEN:
                raise
            except Exception as fault:
                pause = self.bear(fault)
                if self.stay:
                    raise Broken(words(fault)) from fault
                await asyncio.sleep(pause)
            else:
                self.passed()
                return done


def words(fault: Exception) -> str:
    """Say what broke, and where; what the error itself says may hold somebody's data, and stays in the log."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return (
        f"平台故障 Tuneyard itself is broken ({type(fault).__name__} in {where}); the log of the host's worker tells more: please report it"
    )
