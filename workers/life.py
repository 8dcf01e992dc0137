"""The life of one process on its host, from the start to the settled end, whoever it lives for.

Every step reads the row and the run directory first and can be repeated: so the same lines start a process, adopt one whose worker
died, and settle one that ended while nobody looked. What its words mean and what its end means, only its owner knows.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import DomainError, Ghost, Unavailable
from domain.ids import ProcessId
from domain.processes import actions as processes
from domain.processes.condition import ConditionName
from domain.processes.end import End
from domain.processes.ports import Broken, CannotStart, Cause, Executor, Sight, Spec
from domain.processes.process import Phase, Process
from infra import tasks
from infra.failpoints import failpoint
from workers.faults import Faults, words
from workers.hand import Hand
from workers.stop import Stop
from workers.watch import Watchman

log = logging.getLogger(__name__)

READ_BYTES = 2 * 1024 * 1024
"""Output taken at once: large enough to keep up with 100,000 lines a second, small enough that others get their turn."""
SHORTEST_WAIT = 0.01
LONGEST_WAIT = 0.25
"""Seconds between two looks at a process: from just spoken to long silent."""
PRESS_SECONDS = 0.1
"""How exactly a grace is kept."""
DATABASE_PAUSE = 1.0
"""Seconds before a database that did not answer is asked again."""
LINGER_LOOK_SECONDS = 1.0
LINGER_SECONDS = 5.0
"""How long what a finished command left running may still write before it is ended."""


class Order(Struct, frozen=True, kw_only=True):
    """How a command begins on this host."""

    argv: list[str]
    env: dict[str, str]
    """Its devices are added."""
    cwd: str


class Owner(Protocol):
    """What only the owner of a process knows. All of it can be repeated; each writes in one transaction, under the host's lease."""

    @property
    def noun(self) -> str:
        """What a person calls it: `training`."""
        ...

    async def order(self, process: Process) -> Order:
        """Make ready what the command needs, and say how it begins; CannotStart with the reason."""
        ...

    async def began(self, process: Process, sight: Sight) -> None:
        """Know that the command lives; said at each look."""
        ...

    async def said(self, process: Process, output: bytes, *, final: bool) -> Process:
        """Store what it said next, and the offsets behind it; the process as it stands then, the very same when there was nothing."""
        ...

    async def look(self, process: Process) -> None:
        """See to whatever else there is of it on this host; asked several times a second."""
        ...

    async def attend(self, executor: Executor) -> None:
        """Watch over it while it lives, until cancelled, as far as its output alone does not tell."""
        ...

    async def note(self, name: ConditionName, reason: str | None) -> None:
        """Note what is the matter, or (no reason) that it has passed; saying it twice changes nothing."""
        ...

    async def freed(self, process: Process, left: list[int]) -> None:
        """Give back what it held: all of it is dead, but for what could not be killed."""
        ...

    async def ended(self, end: End) -> None:
        """Settle the attempt."""
        ...


Take = Callable[[Hand, ProcessId], Awaitable[tuple[Owner, Process] | None]]
"""Claims the start of a process for this host; None when there is nothing to see to any more."""


async def live(hand: Hand, take: Take, process_id: ProcessId, nudge: asyncio.Event) -> None:
    """See one attempt through to its end, reading its row again at a nudge; Ghost when another worker has taken over this host."""
    taken = await take(hand, process_id)
    if taken is None:
        return
    owner, process = taken
    if process.phase is Phase.over:
        return
    life = _Life(hand, owner, process, nudge)
    try:
        executor = hand.executor_of(process)
    except CannotStart as refusal:
        await life.settle(refusal=refusal)
        return
    try:
        if process.phase is Phase.starting:
            await life.start(executor)
    except CannotStart as refusal:
        await executor.ask_to_stop(hand.directory_of(process))  # a frozen worker that thaws must not start it after all
        await executor.kill(hand.directory_of(process))  # a container may have been made for it
        await life.settle(refusal=refusal)
        return
    sight = await life.follow(executor)
    clean = sight.exit is not None and sight.exit.code == 0
    await life.settle(sight=sight, cause=None if clean else await life.cause(executor))


class _Life:
    """One attempt of one process, followed by this worker."""

    def __init__(self, hand: Hand, owner: Owner, process: Process, nudge: asyncio.Event) -> None:
        self._hand = hand
        self._nudge = nudge
        self._owner = owner
        self._process = process
        self._directory = hand.directory_of(process)
        self._stop = Stop(self._directory)
        self._watchman = Watchman(self._directory, owner)
        self._faults, self._last_faults = Faults(process.owner_id), Faults(process.owner_id)
        """While it lives, and once it is over."""
        self._left: list[int] = []
        self._freed = False
        self._looked = 0.0

    async def start(self, executor: Executor) -> None:
        """Start the attempt, once however often this is reached; CannotStart with the reason."""
        try:
            await self._faults.insist(lambda: self._start(executor))
        except Broken as broken:
            if isinstance(error := broken.__cause__, OSError):
                message = f"the host did not let it be made ready: {error.strerror or type(error).__name__}"
                raise CannotStart(message, passing=True) from broken
            raise
        failpoint("worker", "started")

    async def _start(self, executor: Executor) -> None:
        while not (await executor.look(self._directory)).started:
            await self._require_wanted()  # first: a start that cannot be made ready must still be cancelled
            order = await self._owner.order(self._process)
            await self._require_wanted()  # making ready may have taken long; so may another launch that was frozen just before its claim
            spec = Spec(
                process_id=self._process.id,
                attempt=self._process.attempt,
                argv=order.argv,
                env=order.env | self._devices(),
                cwd=order.cwd,
            )
            await executor.start(self._directory, spec)

    async def follow(self, executor: Executor) -> Sight:
        """Store all that it says until it is over; what the run directory then showed.

        Stopping and watching are tasks of their own: neither waits for a database that does not answer.
        """
        watching = (self._press(executor), self._watchman.watch(executor), self._owner.attend(executor))
        beside = [asyncio.create_task(each) for each in watching]
        wait, sight, over = SHORTEST_WAIT, Sight(), False
        try:
            while True:
                try:
                    sight = await executor.look(self._directory)
                    over = sight.started and not (sight.alive and not self._left)
                    spoke = await self._step(executor, sight, over=over)
                except Unavailable as problem:
                    log.warning("%s: %s; what it says waits in its file", self._process.owner_id, problem.detail)
                    await asyncio.sleep(DATABASE_PAUSE)
                    continue
                except DomainError:
                    raise
                except Exception as fault:  # noqa: BLE001 - whatever it is, it is logged where it is borne
                    if await self._stays(fault, executor, over=over):
                        return sight
                    continue
                if over and not spoke:
                    return sight
                wait = SHORTEST_WAIT if spoke else min(wait * 1.5, LONGEST_WAIT)
                await self._rest(0 if spoke else wait)
        finally:
            await tasks.end(beside)

    async def settle(self, *, sight: Sight | None = None, cause: Cause | None = None, refusal: CannotStart | None = None) -> None:
        """Let the owner write the end, in one transaction."""
        end = End(
            attempt=self._process.attempt,
            began=bool(sight and sight.started),
            started_at=sight.started_at if sight else None,
            exit=sight.exit if sight else None,
            cause=cause,
            refusal=str(refusal) if refusal else None,
            blame=refusal.blame if refusal else CannotStart.blame,
            passing=bool(refusal and refusal.passing),
            left=self._left,
        )
        try:
            await Faults(self._process.owner_id).insist(lambda: self._owner.ended(end))
        except Broken as broken:
            await self._say(ConditionName.incomplete, _not_stored(str(broken), self._directory))
            await self._owner.ended(replace(end, blind=True))

    async def cause(self, executor: Executor) -> Cause | None:
        """Ask the executor why it died; its end is true without that, too."""
        try:
            return await executor.cause(self._directory)
        except Exception:
            log.exception("%s: why it died cannot be asked", self._process.owner_id)
            return None

    async def _stays(self, fault: Exception, executor: Executor, *, over: bool) -> bool:
        """Bear an error of ours; whether it stays though all is over, so that the end must be written without what broke."""
        faults = self._last_faults if over else self._faults
        pause = faults.bear(fault)
        if over and faults.last and await self._give_up(fault, executor):
            return True
        if faults.stay:
            reason = (
                f"{words(fault)}; the {self._owner.noun} is not touched by it: what it says, and how it ends, waits in its run directory"
            )
            await self._say(ConditionName.platform_fault, reason)
        resume_at = time.monotonic() + pause
        while (left := resume_at - time.monotonic()) > 0:
            await self._rest(left)
        return False

    async def _give_up(self, fault: Exception, executor: Executor) -> bool:
        """Store what can be stored of what is over, and say that it is not all; False when it may not be settled yet."""
        try:
            if not self._freed:
                await self._free(executor)
            await self._drain(executor)
            await self._owner.note(ConditionName.incomplete, _not_stored(words(fault), self._directory))
        except Ghost:
            raise
        except Unavailable as problem:
            log.warning("%s: %s; its end waits", self._process.owner_id, problem.detail)
            return False
        except Exception:
            log.exception("%s: nor can it be given up", self._process.owner_id)
        return self._freed

    async def _drain(self, executor: Executor) -> None:
        """Store the rest of what it said, if that is not what is broken."""
        try:
            while await self._listen(executor, final=True):
                pass
        except DomainError:
            raise
        except Exception:
            log.exception("%s: the last of what it said cannot be stored", self._process.owner_id)

    async def _say(self, name: ConditionName, reason: str) -> None:
        """Note what is the matter, if that can be noted."""
        try:
            await self._owner.note(name, reason)
        except Ghost:
            raise
        except Exception:
            log.exception("%s: %s cannot be noted", self._process.owner_id, name)

    async def _step(self, executor: Executor, sight: Sight, *, over: bool) -> bool:
        """Write down what there is to see and hear now; whether it said anything."""
        if sight.pid is not None:
            await self._owner.began(self._process, sight)
        if over and not self._freed:
            await self._free(executor)
        if sight.log_size < self._process.log_offset:
            await self._owner.note(ConditionName.log_gap, _log_cut(self._owner.noun))
        spoke = await self._listen(executor, final=over)
        await self._owner.look(self._process)
        await self._owner.note(ConditionName.platform_fault, None)
        self._faults.passed()
        self._last_faults.passed()
        return spoke

    async def _lingers(self, executor: Executor) -> bool:
        """Whether something of the attempt has outlived its command for too long; looked at once a second."""
        if time.monotonic() - self._looked < LINGER_LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        sight = await executor.look(self._directory)
        return sight.alive and self._lingered(sight) > LINGER_SECONDS

    def _lingered(self, sight: Sight) -> float:
        """Return for how many seconds the command has been over; 0 while it lives, as far as anybody can tell."""
        ended_at = self._watchman.ended_at if sight.exit is None else sight.exit.ended_at
        return 0.0 if ended_at is None else time.time() - ended_at

    async def _press(self, executor: Executor) -> None:
        """Do what a wish to stop demands, and end what a command left behind, by this host's own clock."""
        while True:
            try:
                if await self._lingers(executor):
                    self._left = await self._stop.kill(executor)
                elif self._process.stop_asked_at is not None:
                    self._left = await self._stop.press(executor, self._process)
            except Exception:
                log.exception("%s could not be pressed to stop; it is tried again", self._process.owner_id)
            await asyncio.sleep(PRESS_SECONDS)

    async def _free(self, executor: Executor) -> None:
        """Give back what it held as soon as all of it is dead: a free lock is no proof that every child is gone."""
        self._left = await executor.kill(self._directory)
        failpoint("worker", "killed")
        if self._left or self._process.gpus:
            await self._owner.freed(self._process, self._left)
        self._freed = True

    async def _rest(self, seconds: float) -> None:
        """Rest until there may be something new; a nudge means that the row has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        if not self._nudge.is_set():
            return
        self._nudge.clear()
        try:
            await self._read_row()
        except Unavailable:
            self._nudge.set()
            await asyncio.sleep(DATABASE_PAUSE)

    async def _require_wanted(self) -> None:
        """CannotStart when it was asked to stop meanwhile."""
        await self._read_row()
        if self._process.stop_asked_at is not None:
            raise CannotStart("it was cancelled before it began")

    async def _read_row(self) -> None:
        now = await self._hand.db.read(processes.get, self._process.id)
        self._process = now or self._process

    async def _listen(self, executor: Executor, *, final: bool) -> bool:
        """Hand on what was said since the last time; whether there was anything."""
        output = await executor.read(self._directory, self._process.log_offset, READ_BYTES)
        before = self._process
        self._process = await self._owner.said(before, output, final=final and len(output) < READ_BYTES)
        return self._process is not before

    def _devices(self) -> dict[str, str]:
        """Show the command the GPUs that it was given, and no other; a host without any says nothing."""
        granted = self._process.gpus
        return {"CUDA_VISIBLE_DEVICES": ",".join(granted)} if granted or self._hand.gpus() else {}


def _not_stored(why: str, directory: str) -> str:
    return f"{why}; the last of its log, or of what it left, may not be stored: it lies in {directory} and beside it"


def _log_cut(noun: str) -> str:
    return f"日志缺口 the {noun}'s out.log is shorter than what was stored of it: somebody cut it, and what it said meanwhile is lost"
