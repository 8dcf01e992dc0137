"""The sums of what ended runs left on this host, one artifact after the other, behind everything else it does.

The rows say what is left to do: a worker that dies midway has lost nothing but its reading, and the next one reads again. Neither the
end of a run nor its log waits for 30 GB.
"""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from domain.errors import DomainError, Invalid
from domain.ids import ArtifactId
from domain.runs import hosting
from domain.runs.artifact import Artifact, Summed
from infra.files.sums import reckon
from workers.hand import Hand

log = logging.getLogger(__name__)

NICENESS = 10
"""A training on the same processors goes first."""
VAIN_SECONDS = 60.0
"""After this an artifact is tried again that could not be read, or changed meanwhile."""


async def keep_summing(hand: Hand) -> None:
    """Sum what has none, newest first, for ever."""
    summing = _Summing(hand)
    try:
        while True:
            try:
                busy = await summing.next()
            except DomainError as problem:
                log.warning("sums: %s; they are taken later", problem.detail)
                busy = False
            except Exception:
                log.exception("taking sums broke; they are taken later")
                busy = False
            if not busy:
                await asyncio.sleep(hand.settings.sweep_seconds)
    finally:
        summing.close()


class _Summing:
    """One thread that reads, and what it has read in vain."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._thread = ThreadPoolExecutor(1, "sums", initializer=_give_way)
        self._vain: dict[ArtifactId, float] = {}

    async def next(self) -> bool:
        """Sum one artifact; False when none is left."""
        self._vain = {each: until for each, until in self._vain.items() if until > time.monotonic()}
        left = await self._hand.db.read(hosting.unsummed, self._hand.speaker.name, limit=len(self._vain) + 1)
        artifact = next((each for each in left if each.id not in self._vain), None)
        if artifact is None:
            return False
        summed = await self._reckon(artifact)
        if summed is None:
            self._vain[artifact.id] = time.monotonic() + VAIN_SECONDS
        else:
            await self._hand.db.run(hosting.summed, artifact, self._hand.speaker, summed)
        return True

    async def _reckon(self, artifact: Artifact) -> Summed | None:
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, reckon, self._hand.root, artifact, stop)
        except (OSError, Invalid) as problem:
            log.warning("the sums of %s (%s) cannot be taken: %s", artifact.name, artifact.id, problem)
            return None
        except Exception:
            log.exception("the sums of %s (%s) cannot be taken", artifact.name, artifact.id)
            return None
        finally:
            stop.set()  # a thread cannot be cancelled, and a worker must not wait for 30 GB before it may end

    def close(self) -> None:
        """Let the thread end after the batch it is reading."""
        self._thread.shutdown(wait=False)


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
