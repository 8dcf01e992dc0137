"""The supervisor sees to everything its host has on hand: at a ring at once, by itself every few seconds.

It keeps one task per process. A task that breaks, on a lost database or on anything unforeseen, is begun anew by the next sweep
and goes on where the row and the run directory say. Who has lost the lease lets everything go and changes nothing more.
"""

import asyncio
import logging
from datetime import timedelta

from domain.errors import DomainError, Ghost
from domain.hosts import actions as hosts
from domain.ids import ProcessId
from domain.processes import actions as processes
from domain.processes.process import OwnerKind
from infra import tasks
from workers import deployments, jobs, life, runs
from workers.hand import Hand
from workers.janitor import tidy
from workers.sums import keep_summing

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
"""A worker may miss this many beats less one before its lease runs out."""
ROOMS: dict[OwnerKind, life.Take] = {OwnerKind.run: runs.take, OwnerKind.deployment: deployments.take, OwnerKind.job: jobs.take}
"""Who sees to the processes of each kind of owner."""


class Supervisor:
    """Sees to the processes of one host."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._lives: dict[ProcessId, asyncio.Task[None]] = {}
        self._nudges: dict[ProcessId, asyncio.Event] = {}
        self._ghost = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled, or until another worker speaks for this host (Ghost)."""
        parts = [asyncio.create_task(part) for part in (self._beat(), self._sweep(), keep_summing(self._hand), tidy(self._hand.db))]
        try:
            await self._ghost.wait()
        finally:
            await tasks.end([*parts, *self._lives.values()])
        message = f"another worker speaks for host {self._hand.speaker.name} now; this one lets go"
        raise Ghost(message)

    def look(self, process_id: ProcessId) -> None:
        """See to this process; whoever sees to it already looks at its row again."""
        if process_id in self._lives:
            self._nudges[process_id].set()
            return
        nudge = self._nudges[process_id] = asyncio.Event()
        task = self._lives[process_id] = asyncio.create_task(self._live(process_id, nudge))
        task.add_done_callback(lambda _: (self._lives.pop(process_id, None), self._nudges.pop(process_id, None)))

    async def _live(self, process_id: ProcessId, nudge: asyncio.Event) -> None:
        try:
            process = await self._hand.db.read(processes.get, process_id)
            if process is not None:
                await life.live(self._hand, ROOMS[process.owner_kind], process_id, nudge)
        except Ghost:
            await self._check_lease()
        except DomainError as problem:
            log.warning("process %s: %s; it is taken up again in the next sweep", process_id, problem.detail)
        except Exception:
            log.exception("process %s broke its task; it is taken up again in the next sweep", process_id)

    async def _sweep(self) -> None:
        while True:
            try:
                await self._hand.db.run(processes.sweep, self._hand.speaker.name)
                await deployments.roll_over(self._hand)
                for process in await self._hand.db.read(processes.on_hand, self._hand.speaker.name):
                    self.look(process.id)
            except DomainError as problem:
                log.warning("sweep: %s", problem.detail)
            except Exception:
                log.exception("a sweep failed; the next one comes")
            await asyncio.sleep(self._hand.settings.sweep_seconds)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._hand.settings.lease_seconds / BEATS_PER_LEASE)
            await self._check_lease()

    async def _check_lease(self) -> None:
        speaker = self._hand.speaker
        try:
            ttl = timedelta(seconds=self._hand.settings.lease_seconds)
            await self._hand.db.run(hosts.beat, speaker.name, speaker.lease, ttl, self._hand.gpus())
        except Ghost:
            self._ghost.set()
        except DomainError as problem:
            log.warning("heartbeat: %s", problem.detail)
        except Exception:
            log.exception("a heartbeat failed; the next one comes")
