"""Watching over a training while it lives: whether it has fallen silent, and whether the shim still lives that will record its end."""

import asyncio
import logging
import time
from datetime import timedelta

from domain.errors import Ghost, Unavailable
from domain.processes.condition import ConditionName
from domain.processes.ports import Executor, Sight
from domain.processes.process import Process
from domain.runs import hosting
from domain.runs.run import Run
from workers.hand import Hand

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
SHIM_LOST = (
    "监护进程已丢失 the shim that records the end of this training was killed; the training goes on, but its exit code will not be known"
)


class Watchman:
    """Notes what is the matter with one run, and that it has passed."""

    def __init__(self, hand: Hand, run: Run, process: Process, directory: str) -> None:
        self._hand = hand
        self._process = process
        self._watch = run.watch
        self._directory = directory
        self._spoke_at = time.monotonic()
        self._log_size = 0
        self._noted = {each.name for each in run.conditions}
        self.ended_at: float | None = None
        """When, by the monotonic clock, it was seen that a command whose shim is lost has ended: no exit record will ever tell."""

    def hear(self) -> None:
        """Know that the training has just said something."""
        self._spoke_at = time.monotonic()

    async def watch(self, executor: Executor) -> None:
        """Look every two seconds until cancelled; a database that does not answer is asked again."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._watch.stalled_after_seconds))
            try:
                sight = await executor.look(self._directory)
                await self._look_at_silence(sight)
                if await executor.shim_lives(self._directory) is False and (await executor.look(self._directory)).exit is None:
                    if self.ended_at is None and await executor.command_lives(self._directory) is False:
                        self.ended_at = time.monotonic()
                    await self.note(ConditionName.shim_lost, SHIM_LOST)
            except Unavailable:
                continue
            except Ghost:
                return
            except Exception:
                log.exception("process %s could not be watched; it is tried again", self._process.id)

    async def hear_nan(self, name: str, step: int | None) -> None:
        """Note that the loss is not a number any more."""
        at = "" if step is None else f" at step {step}"
        reason = f"损失不是有限数 {name} is not a finite number{at}; the weights are probably lost: resume from an earlier checkpoint"
        await self.note(ConditionName.nan_loss, reason, stop=self._watch.stop_on_nan)

    async def note(self, name: ConditionName, reason: str | None, *, stop: bool = False) -> None:
        """Write it down, unless it is already; with `stop` the training is let save and stopped."""
        if (name in self._noted) is (reason is not None):
            return
        grace = timedelta(seconds=self._hand.settings.grace_seconds) if stop else None
        await self._hand.db.run(hosting.noted, self._process.id, self._hand.speaker, name, reason, stop_after=grace)
        self._noted ^= {name}

    async def _look_at_silence(self, sight: Sight) -> None:
        """Judge by its file, which grows also while the database is gone and nothing can be stored."""
        if sight.log_size != self._log_size:
            self._log_size = sight.log_size
            self.hear()
        limit = self._watch.stalled_after_seconds
        stalled = time.monotonic() - self._spoke_at > limit
        reason = f"训练停滞 the training has said nothing for {limit:g} s" if stalled else None
        await self.note(ConditionName.stalled, reason, stop=self._watch.stop_when_stalled)
