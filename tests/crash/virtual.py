"""A world without a wall clock: machines that obey nothing but the shim's physics, and workers whose every write is a real action.

An attempt starts at most once, and dies only by its own exit, a kill, or the restart of its machine; what hangs in the kernel keeps
its GPU until then. Workers do what `workers/life.py` and `workers/runs.py` do, one step at a time; any of their writes may be
undone or go unheard.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from msgspec import Struct, field

from domain.errors import Conflict, Ghost
from domain.hosts import actions as hosts
from domain.hosts.gpu import SeenGpu
from domain.ids import HostName, ProcessId, RunId
from domain.processes import actions as processes
from domain.processes.condition import ConditionName
from domain.processes.ports import CannotStart, Exit, Sight
from domain.processes.process import Phase, Process
from domain.runs import hosting
from domain.runs.artifact import ArtifactType, Found, Look
from domain.runs.ending import Ending
from domain.runs.measured import Measured
from domain.runs.run import Run, folder_of
from domain.runs.said import Said
from tests.crash.virtual_database import Broken, VirtualDatabase
from tests.things import a_registration

R = TypeVar("R")

TTL = timedelta(seconds=15)
"""Of a lease."""
BACKOFF = timedelta(seconds=5)
"""Before the second attempt."""
LAST_WORD = timedelta(seconds=2)
"""Between the end of the grace and the kill."""


REPEATABLE = (hosting.take, hosting.began, hosting.said, hosting.ended)
"""Other writes change something when they come late; a worker does nothing more before they are answered."""


class Attempt(Struct, kw_only=True):
    """The run directory of an attempt, and what lives of it."""

    run_id: RunId
    number: int
    machine: "Machine"
    gpus: list[str]
    forbidden: bool = False
    """What was not started yet never will be."""
    starts: int = 0
    running: bool = False
    exit: Exit | None = None
    said: int = 0
    """Lines that it has said; each of them tells its number."""
    hanging: bool = False
    """A child of it that cannot be killed."""
    locked: bool = False
    """Whether that child holds the lock, so that the attempt cannot be seen to be over."""

    @property
    def started(self) -> bool:
        """The one start was claimed."""
        return self.starts > 0

    @property
    def lock_held(self) -> bool:
        """Somebody of the attempt lives, as far as the lock tells."""
        return self.running or (self.hanging and self.locked)

    def lines(self, first: int = 0, stop: int | None = None) -> list[bytes]:
        """What it said, from and to these lines."""
        return [b"%05d of attempt %d" % (number, self.number) for number in range(first, self.said if stop is None else stop)]

    def die(self, *, code: int | None = None, recorded: bool = True) -> None:
        """Run no more; without a shim to record it nobody will know how it ended."""
        if self.running:
            self.running = False
            self.exit = Exit(attempt=self.number, code=code, signal=9 if code is None else None, ended_at=1.0) if recorded else None

    def kill(self) -> list[int]:
        """Do what Executor.kill promises: what is not started never will be, what lives is dead, but for the pids that hang."""
        self.forbidden = self.forbidden or not self.started
        self.die()
        return [4711] if self.hanging else []

    def sight(self) -> Sight:
        """What a look at the directory shows."""
        if not self.started:
            return Sight()
        return Sight(
            started=True, alive=self.lock_held, attempt=self.number, pid=42, start_ticks=7, boot_id="b", started_at=1.0, exit=self.exit
        )


class Machine(Struct, kw_only=True):
    """A computer with GPUs, and a training folder that it may share."""

    name: HostName
    folder: str
    gpus: int
    boots: int = 0
    workers: "list[VirtualWorker]" = field(default_factory=list)

    @property
    def seen_gpus(self) -> list[SeenGpu]:
        """What its driver shows."""
        return [SeenGpu(number=number, uuid=f"{self.name}-GPU-{number}", type="NVIDIA A100") for number in range(self.gpus)]

    @property
    def awake(self) -> "list[VirtualWorker]":
        """Its workers that do anything at all."""
        return [worker for worker in self.workers if not worker.frozen]


class World:
    """The machines, and what lives on them."""

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = machines
        self.attempts: dict[tuple[RunId, int], Attempt] = {}
        self.checkpoints: dict[RunId, dict[int, bool]] = {}
        """Step → whether it is complete."""

    def directory(self, machine: Machine, process: Process) -> Attempt:
        """The run directory of a process's attempt."""
        key = RunId(process.owner_id), process.attempt
        found = self.attempts.get(key)
        if found is None:
            found = self.attempts[key] = Attempt(run_id=key[0], number=key[1], machine=machine, gpus=process.gpus)
        return found

    def start(self, attempt: Attempt) -> None:
        """Do what Executor.start promises."""
        if attempt.forbidden:
            message = "it was asked to stop before it began"
            raise CannotStart(message)
        if not attempt.started:
            attempt.starts += 1
            attempt.running = True

    def living(self) -> list[Attempt]:
        """What runs."""
        return [attempt for attempt in self.attempts.values() if attempt.running]

    def reboot(self, machine: Machine, gpus: int) -> None:
        """Nothing on it survives, and nobody records how it ended."""
        machine.boots += 1
        machine.gpus = gpus
        machine.workers.clear()
        for attempt in self.attempts.values():
            if attempt.machine is machine:
                attempt.die(recorded=False)
                attempt.hanging = False

    def look(self, run_id: RunId) -> Look:
        """What the run's output folder shows."""
        steps = self.checkpoints.get(run_id, {})
        return Look(findings=[_found(*each) for each in steps.items()], root=f"file:///data/{folder_of(run_id)}/output", whole=True)


class Life(Struct, kw_only=True):
    """What a worker remembers of a process that it sees to."""

    run: Run
    process: Process
    attempt: Attempt
    launched: bool
    left: list[int] = field(default_factory=list)
    freed: bool = False


class VirtualWorker:
    """A worker of a machine, as far as it goes: every step may be its last."""

    def __init__(self, database: VirtualDatabase, world: World, machine: Machine, lease: int) -> None:
        self._database, self._world, self._machine = database, world, machine
        self.name, self.lease = machine.name, lease
        self.frozen = False
        self.lives: dict[ProcessId, Life] = {}
        self.letters: list[Callable[[], object]] = []
        """What it wrote that may arrive again, however late: each says of which attempt it is, or may always be repeated."""

    @classmethod
    def hire(cls, database: VirtualDatabase, world: World, machine: Machine) -> None:
        """Let a new worker end what is left over and register; it goes when another one speaks for its host for certain."""
        known = database.read(hosts.find, machine.name)
        for process in database.read(processes.ended_since, machine.name, known.lease_until - timedelta(hours=1)) if known else []:
            if (attempt := world.attempts.get((RunId(process.owner_id), process.attempt))) and attempt.machine is machine:
                attempt.kill()
        asked = a_registration(
            machine.name,
            boot_id=f"boot {machine.boots}",
            gpus=machine.seen_gpus,
            folder=machine.folder,
            slots=3,
            sole=not machine.workers,
            ttl=TTL,
        )
        try:
            host = database.run(hosts.register, asked)
        except Conflict:
            return
        machine.workers.append(cls(database, world, machine, host.lease))

    def beat(self) -> None:
        """Prolong the lease, and go if it is another's."""
        try:
            self._database.run(hosts.beat, self.name, self.lease, TTL, self._machine.seen_gpus)
        except Ghost:
            self.lives.clear()
            if self in self._machine.workers:
                self._machine.workers.remove(self)

    def sweep(self) -> None:
        """Place what nobody placed, and take up what this host has on hand; who has gone does nothing more."""
        if self not in self._machine.workers:
            return
        self._database.run(processes.sweep, self.name)
        for process in self._database.read(processes.on_hand, self.name):
            if process.id not in self.lives and self in self._machine.workers:
                self.take(process.id)

    def take(self, process_id: ProcessId) -> None:
        """Claim a start, or adopt what was started."""
        taken = self._say(process_id, hosting.take)
        if taken is not None and not taken[0].over:
            run, process = taken
            attempt = self._world.directory(self._machine, process)
            launched = process.phase is not Phase.starting
            self.lives[process_id] = Life(run=run, process=process, attempt=attempt, launched=launched)

    def step(self, process_id: ProcessId, *, lines: int = 3, obstacle: CannotStart | None = None) -> None:
        """Do the next thing that there is to do for a process."""
        life = self.lives[process_id]
        self._press(life)
        if not life.launched:
            self._launch(life, obstacle)
            return
        sight = life.attempt.sight()
        over = sight.started and not (sight.alive and not life.left)
        if life.process.phase is Phase.starting and sight.pid is not None:
            self._began(life, sight)
        elif over and not life.freed:
            self._free(life)
        elif life.attempt.said > _lines_in(life.attempt, life.process.log_offset):
            self._listen(life, lines)
        elif over:
            self._settle(life, sight=sight)
        elif sight.exit is not None:
            life.left = life.attempt.kill()

    def find(self, process_id: ProcessId) -> None:
        """Register what lies in the output folder."""
        self._say(process_id, hosting.found, self._world.look(self.lives[process_id].attempt.run_id))

    def note(self, process_id: ProcessId, name: ConditionName, *, there: bool, stop: bool) -> None:
        """Say what is the matter, or that it has passed."""
        self._say(process_id, hosting.noted, name, "seen" if there else None, stop_after=timedelta(0) if there and stop else None)

    def repeat(self, *, backwards: bool) -> None:
        """Let what was written lately arrive once more, in the wrong order if so wished."""
        for letter in self.letters[-12:][:: -1 if backwards else 1]:
            with suppress(Ghost):
                letter()

    def _press(self, life: Life) -> None:
        """Do what a wish to stop demands."""
        process = self._database.read(processes.get, life.process.id)
        if process is None or process.stop_asked_at is None or process.attempt != life.process.attempt:
            return
        if self._database.now >= process.stop_asked_at + timedelta(seconds=process.stop_grace or 0) + LAST_WORD and life.launched:
            life.left = life.attempt.kill()

    def _launch(self, life: Life, obstacle: CannotStart | None) -> None:
        process = self._database.read(processes.get, life.process.id)
        if process and process.stop_asked_at is not None:
            obstacle = CannotStart("it was cancelled before it began")
        if obstacle is not None and not life.attempt.started:
            self._refuse(life, obstacle)
            return
        try:
            self._world.start(life.attempt)
        except CannotStart as refusal:
            self._refuse(life, refusal)
        else:
            life.launched = True

    def _refuse(self, life: Life, refusal: CannotStart) -> None:
        life.attempt.kill()
        self._settle(life, refusal=refusal)

    def _began(self, life: Life, sight: Sight) -> None:
        run = self._say(life.process.id, hosting.began, sight)
        if run is not None:
            life.run = run
            life.process = self._database.read(lambda tx: tx.processes.of(run.id))

    def _listen(self, life: Life, lines: int) -> None:
        first = _lines_in(life.attempt, life.process.log_offset)
        heard = life.attempt.lines(first)[:lines]
        said = Said(
            attempt=life.attempt.number,
            lines=heard,
            measured=[Measured(step=first, values={"train/loss": float(first)})],
            progress=min(first / 20, 1.0),
            first_byte=life.process.log_offset,
            end_byte=life.process.log_offset + sum(len(line) + 1 for line in heard),
            seen_at=self._database.now,
        )
        process = self._say(life.process.id, hosting.said, said)
        life.process = process or life.process

    def _free(self, life: Life) -> None:
        life.left = life.attempt.kill()
        if life.left or life.process.gpus:
            self._say(life.process.id, hosting.freed, life.left)
        life.freed = True

    def _settle(self, life: Life, *, sight: Sight | None = None, refusal: CannotStart | None = None) -> None:
        ending = Ending(
            attempt=life.attempt.number,
            began=sight is not None,
            exit=sight.exit if sight else None,
            refusal=str(refusal) if refusal else None,
            passing=bool(refusal and refusal.passing),
            left=life.left,
            look=self._world.look(life.attempt.run_id),
        )
        self._say(life.process.id, hosting.ended, ending, backoff=BACKOFF)
        self.lives.pop(life.process.id, None)

    def _say(self, process_id: ProcessId, action: Callable[..., R], *args: Any, **kwargs: Any) -> R | None:
        """Write; a ghost changes nothing, and lets go."""

        def write() -> R:
            before = self._database.rows() if self._is_ghost else None
            try:
                return self._database.run(action, process_id, self, *args, **kwargs)
            finally:
                assert before is None or before == self._database.rows(), f"a ghost's {action.__name__} changed something"

        if action in REPEATABLE:
            self.letters.append(write)
        try:
            return write()
        except Ghost:
            self.lives.pop(process_id, None)
            self.beat()
        except Broken:
            self.lives.pop(process_id, None)
        return None

    @property
    def _is_ghost(self) -> bool:
        known = self._database.read(hosts.find, self.name)
        return known is None or known.lease != self.lease


def _lines_in(attempt: Attempt, size: int) -> int:
    """How many of an attempt's lines there are in so many bytes: all of them are of one length."""
    return size // (len(attempt.lines(0, 1)[0]) + 1)


def _found(step: int, complete: bool) -> Found:  # noqa: FBT001 - an item of a dict
    return Found(
        type=ArtifactType.checkpoint,
        path=f"checkpoint-{step}",
        name=f"checkpoint-{step}",
        step=step,
        size_bytes=1,
        complete=complete,
        missing=None if complete else "half of it",
        modified_at=1.0,
    )
