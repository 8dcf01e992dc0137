"""The lives of runs under everything that can happen, step by step, by a virtual clock: the promises P1 to P6 hold after each step.

`TUNEYARD_LIVES=5000` plays so many lives, each of 200 steps, by chance that is new each time, and what breaks is played first the next
time; without it there are 70, always the same. A broken promise is printed with the shortest list of steps found that breaks it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from domain.errors import Conflict, NotFound
from domain.hosts import actions as hosts
from domain.ids import HostName, RunId
from domain.processes import actions as processes
from domain.processes.condition import ConditionName
from domain.processes.ports import CannotStart
from domain.processes.process import Resources
from domain.processes.waiting import Reason
from domain.projects import actions as projects
from domain.projects.project import ProjectCreate
from domain.runs import actions, queries
from domain.runs.artifact import newest_checkpoint
from domain.runs.run import NewRun, Run
from tests.crash.promises import Oracle, see
from tests.crash.virtual import TTL, Machine, VirtualWorker, World
from tests.crash.virtual_database import Broken, Fate, VirtualDatabase
from tests.things import TEMPLATE, a_recipe

T = TypeVar("T")

LIVES = int(os.environ.get("TUNEYARD_LIVES", "0"))
MOST_ROUNDS = 80
"""Until everything has come to rest."""
HOPELESS = {Reason.no_host, Reason.never}

PICK = st.integers(0, 11)
FATES = st.sampled_from([Fate.kept, Fate.kept, Fate.kept, Fate.kept, Fate.undone, Fate.unheard])
MACHINES = st.lists(st.tuples(st.sampled_from(["shared", "shared", "own"]), st.integers(0, 3)), min_size=1, max_size=3)
OBSTACLES = st.sampled_from([*[None] * 4, CannotStart("it is broken"), *[CannotStart("it is busy", passing=True)] * 2])
ENDS = st.sampled_from([0, 1, "killed", "lost", "lost", "lost"])
"""Exit codes; killed, as the shim records; lost with the shim, so that there is no record. Retries are what may go wrong."""


class Lives(RuleBasedStateMachine):
    """A house of up to three machines; the rules are what people, workers, trainers and misfortune do."""

    database: VirtualDatabase

    @initialize(machines=MACHINES, runs=st.integers(1, 4), steps=st.integers(0, 2))
    def open(self, machines: list[tuple[str, int]], runs: int, steps: int) -> None:
        self.database.clear()
        self.world = World(
            [Machine(name=HostName(f"host-{number}"), folder=folder, gpus=gpus) for number, (folder, gpus) in enumerate(machines)]
        )
        self.oracle = Oracle(self.world)
        self.sound = True
        """Whether the last step kept all promises."""
        self.database.run(projects.create, ProjectCreate(name="p"))
        for machine in self.world.machines:
            VirtualWorker.hire(self.database, self.world, machine)
        for _ in range(runs):
            self.launch(0, None, None, Fate.kept, Fate.kept)
        self.go_on(steps, beating=False, hiring=False, lines=1, obstacle=None, fate=Fate.kept)

    @rule(
        priority=st.integers(0, 2),
        gpus=st.sampled_from([None, 0, 1, 1, 2]),
        folder=st.sampled_from([None, None, None, "shared", "own"]),
        fate=FATES,
        placed=FATES,
    )
    def launch(self, priority: int, gpus: int | None, folder: str | None, fate: Fate, placed: Fate) -> None:
        asked = NewRun(priority=priority, resources=Resources(gpu_count=gpus))
        with self.meeting(fate):
            self.database.run(actions.launch, "p", asked, a_recipe(folder=folder), template=TEMPLATE)
        with self.meeting(placed):
            self.database.run(processes.place)

    @rule(pick=PICK, grace=st.sampled_from([0, 5, 60]), fate=FATES)
    @precondition(lambda self: self.world.living())
    def cancel(self, pick: int, grace: int, fate: Fate) -> None:
        self.ask_to_cancel(one(self.world.living(), pick).run_id, grace, fate)

    @rule(pick=PICK, fate=FATES)
    def cancel_whatever_its_state(self, pick: int, fate: Fate) -> None:
        self.ask_to_cancel(one(self.runs(), pick).id, 0, fate)

    @rule(pick=PICK)
    @precondition(lambda self: self.world.checkpoints)
    def resume(self, pick: int) -> None:
        run_id = one(list(self.world.checkpoints), pick)
        checkpoint = newest_checkpoint(self.database.read(lambda tx: tx.artifacts.of(run_id)))
        if checkpoint is not None:
            with self.meeting():
                recipe = a_recipe(config={"resume_from_checkpoint": checkpoint.relative_path}, folder=self.world.machines[0].folder)
                self.database.run(actions.launch, "p", NewRun(), recipe, template=TEMPLATE, resumed_from=checkpoint.id)

    @rule(word=st.sampled_from(["drain", "undrain", "dead", "dead", "dead", "return"]), pick=PICK, number=st.integers(0, 2))
    def operate(self, word: str, pick: int, number: int) -> None:
        """Let an operator say something; a GPU is returned only where nothing hangs any more."""
        machine = one(self.world.machines, pick)
        with self.meeting(), suppress(Conflict, NotFound):
            if word == "dead" and (living := self.world.living()):
                run_id = one(living, pick).run_id
                self.database.now += TTL
                self.database.run(actions.declare_dead, "p", run_id)
                self.oracle.given_up.add(run_id)
            elif word == "return" and not any(each.hanging for each in self.world.attempts.values()):
                self.database.run(hosts.return_gpu, machine.name, number)
            elif word in {"drain", "undrain"}:
                self.database.run(hosts.drain if word == "drain" else hosts.undrain, machine.name)

    @rule(steps=st.integers(1, 8), beating=st.booleans(), hiring=st.booleans(), lines=st.integers(0, 5), obstacle=OBSTACLES, fate=FATES)
    def go_on(self, steps: int, beating: bool, hiring: bool, lines: int, obstacle: CannotStart | None, fate: Fate) -> None:  # noqa: FBT001 - drawn
        """Let a while pass as any other: trainers speak, workers beat and work, and where there is none, one comes."""
        for attempt in self.world.living():
            attempt.said += lines
        with self.meeting(fate):
            for machine in self.world.machines:
                if hiring and not machine.workers:
                    VirtualWorker.hire(self.database, self.world, machine)
            for worker in reversed(self.workers()):  # whom another has replaced comes last, and knows nothing of what that one did
                if beating:
                    worker.beat()
                worker.sweep()
                self.let_work(worker, steps, obstacle)
        self.database.read(self.oracle.explain)

    go_on_further = go_on_and_on = go_on
    """Most of the time nothing happens."""

    @rule(pick=PICK, which=PICK, lines=st.integers(1, 4), obstacle=OBSTACLES, fate=FATES)
    @precondition(lambda self: any(worker.lives for worker in self.workers()))
    def step(self, pick: int, which: int, lines: int, obstacle: CannotStart | None, fate: Fate) -> None:
        worker = one([worker for worker in self.workers() if worker.lives], pick)
        with self.meeting(fate):
            worker.step(one(list(worker.lives), which), lines=lines, obstacle=obstacle)

    @rule(pick=PICK, which=PICK)
    @precondition(lambda self: any(worker.lives for worker in self.workers()))
    def find(self, pick: int, which: int) -> None:
        worker = one([worker for worker in self.workers() if worker.lives], pick)
        with self.meeting():
            worker.find(one(list(worker.lives), which))

    @rule(pick=PICK, which=PICK, name=st.sampled_from(ConditionName), there=st.booleans(), stop=st.booleans())
    @precondition(lambda self: any(worker.lives for worker in self.workers()))
    def note(self, pick: int, which: int, name: ConditionName, there: bool, stop: bool) -> None:  # noqa: FBT001 - drawn
        worker = one([worker for worker in self.workers() if worker.lives], pick)
        with self.meeting():
            worker.note(one(list(worker.lives), which), name, there=there, stop=stop)

    @rule(pick=PICK, backwards=st.booleans())
    @precondition(lambda self: any(machine.workers for machine in self.world.machines))
    def repeat(self, pick: int, backwards: bool) -> None:  # noqa: FBT001 - drawn
        """Let what was written arrive once more, however late."""
        with self.meeting():
            one([worker for machine in self.world.machines for worker in machine.workers], pick).repeat(backwards=backwards)

    @rule(
        what=st.sampled_from(["hire", "replace", "replace", "freeze", "thaw", "kill", "reboot"]),
        pick=PICK,
        which=PICK,
        gpus=st.integers(0, 3),
    )
    def befall(self, what: str, pick: int, which: int, gpus: int) -> None:
        """Let something happen to a machine or to a worker of it."""
        machine = one(self.world.machines, pick)
        with self.meeting():
            if what == "reboot":
                self.world.reboot(machine, gpus)
            elif what in {"hire", "replace"} and len(machine.workers) < 2:
                self.database.now += TTL if what == "replace" else timedelta(0)
                VirtualWorker.hire(self.database, self.world, machine)
            elif what == "kill" and machine.workers:
                machine.workers.remove(one(machine.workers, which))
            elif what in {"freeze", "thaw"} and machine.workers:
                one(machine.workers, which).frozen = what == "freeze"

    @rule(seconds=st.sampled_from([1, 4, 16, 90]))
    def wait(self, seconds: int) -> None:
        self.database.now += timedelta(seconds=seconds)

    @rule(pick=PICK, lines=st.integers(1, 6), step=st.integers(1, 9), complete=st.sampled_from([None, None, True, True, False]))
    @precondition(lambda self: self.world.living())
    def train(self, pick: int, lines: int, step: int, complete: bool | None) -> None:  # noqa: FBT001 - drawn
        attempt = one(self.world.living(), pick)
        attempt.said += lines
        if complete is not None:
            self.world.checkpoints.setdefault(attempt.run_id, {})[step] = complete

    @rule(pick=PICK, end=ENDS, hangs=st.sampled_from([None, None, None, None, True, False]))
    @precondition(lambda self: self.world.living())
    def die(self, pick: int, end: int | str, hangs: bool | None) -> None:  # noqa: FBT001 - drawn
        """Let a trainer end, perhaps with its shim, perhaps leaving a child that hangs, which may hold the lock."""
        attempt = one(self.world.living(), pick)
        attempt.die(code=end if isinstance(end, int) else None, recorded=end != "lost")
        attempt.hanging, attempt.locked = hangs is not None, bool(hangs)

    @invariant()
    def every_promise_holds(self) -> None:
        self.database.read(self.oracle.check)
        self.sound = True

    def teardown(self) -> None:
        """Let all come to rest: every run ends, and nothing is held."""
        if not getattr(self, "sound", False):
            return
        self.database.read(self.oracle.explain)
        for _ in range(MOST_ROUNDS):
            if all(run.over for run in self.runs()):
                break
            self.tidy_up()
            self.every_promise_holds()
        assert not [(run.id, run.status) for run in self.runs() if not run.over]
        self.every_promise_holds()

    def tidy_up(self) -> None:
        """Repair the machines, let trainers end and workers work, and cancel what can never start or whose end cannot be seen."""
        self.database.now += TTL + timedelta(seconds=5)
        for machine in self.world.machines:
            if any(each.hanging and each.machine is machine for each in self.world.attempts.values()):
                self.world.reboot(machine, machine.gpus)
            machine.workers[:] = machine.awake
            for worker in list(machine.workers):
                worker.beat()
            if not machine.workers:
                VirtualWorker.hire(self.database, self.world, machine)
            if self.database.read(hosts.find, machine.name):
                self.database.run(hosts.undrain, machine.name)
        self.database.run(processes.place)
        for worker in self.workers():
            worker.sweep()
            self.let_work(worker, 12)
        for attempt in self.world.living():
            attempt.die(code=0)
        for run in self.runs():
            waiting = self.database.read(queries.detail, "p", run.id).waiting
            if waiting is not None and waiting.reason in HOPELESS:
                self.database.run(actions.cancel, "p", run.id, grace=timedelta(0))

    def ask_to_cancel(self, run_id: RunId, grace: int, fate: Fate) -> None:
        with self.meeting(fate):
            try:
                self.database.run(actions.cancel, "p", run_id, grace=timedelta(seconds=grace))
            except Conflict:
                assert next(run.over for run in self.runs() if run.id == run_id)

    @staticmethod
    def let_work(worker: VirtualWorker, steps: int, obstacle: CannotStart | None = None) -> None:
        for _ in range(steps):
            for process_id in list(worker.lives):
                if process_id in worker.lives:
                    worker.step(process_id, obstacle=obstacle)

    @contextmanager
    def meeting(self, fate: Fate = Fate.kept) -> Iterator[None]:
        """Let the first transaction meet this fate."""
        self.sound = False
        self.database.fate = fate
        try:
            yield
        except Broken:
            return
        finally:
            self.database.fate = Fate.kept

    def runs(self) -> list[Run]:
        return [run for run, _ in self.database.read(see).runs]

    def workers(self) -> list[VirtualWorker]:
        return [worker for machine in self.world.machines for worker in machine.awake]


def one(things: list[T], pick: int) -> T:
    return things[pick % len(things)]


@pytest.mark.timeout(900 + 10 * LIVES)  # finding the shortest way may take five minutes
def test_every_promise_holds_whatever_happens_in_whatever_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # Five of six lives would be copies of the one before with one step over and over: good for parsers, idle for a house.
    monkeypatch.setattr(ConjectureRunner, "generate_mutations_from", lambda *_: None)

    class Here(Lives):
        database = VirtualDatabase()

    often = settings(max_examples=LIVES or 70, stateful_step_count=200 if LIVES else 40, derandomize=not LIVES, deadline=None)
    run_state_machine_as_test(
        Here,
        settings=settings(often, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large]),
    )
