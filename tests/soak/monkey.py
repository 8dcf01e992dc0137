"""Hurts the world as planned: each kind of part has a thread of its own, so that faults fall together as they may.

Locks are taken in one order: API, workers, Redis, PostgreSQL. Who holds a part's lock is the only one to hurt it.
"""

import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import uuid4

import httpx

from infra.executors import tree
from tests.house import Part
from tests.soak.plan import HOSTS, LEASE_SECONDS, Fault, Plan
from tests.soak.record import Harm, Probe
from tests.soak.servers import BRIEFLY, thaw
from tests.soak.world import PROJECT, Watched, World

LET_GO = 3
"""Exit code of a worker that finds another in its place."""
HUNT_SECONDS = 10.0
"""How long a hunter waits for a training to come by."""
AWAY_SECONDS = 3.0
"""How long Redis or the database is away: longer than a request may wait."""
LONGEST_REFUSAL = 3.5
"""Seconds for an answer while something is away: two are promised, on a machine with time; here three dozen processes share two cores."""
PROBE_SECONDS = 0.5
OURS = "FROM pg_stat_activity WHERE application_name = 'tuneyard'"
SETTLED = "AND backend_start < clock_timestamp() - interval '1 second'"
"""Who is just starting is left alone by most: it would have to start again, and at one drop a second never get anywhere."""
DROP = f"SELECT pg_terminate_backend(pid) {OURS}"


class Monkey:
    """All threads that hurt."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._record = world.record
        self._closing = threading.Event()
        self._began = time.monotonic()
        self._ghosts: list[Part] = []
        self._acts: dict[str, tuple[str, Callable[[Fault], bool]]] = {
            "one database connection": ("database", self._drop_one),
            "all database connections": ("database", self._drop_all),
            "PostgreSQL restarted": ("database", self._restart_postgresql),
            "PostgreSQL gone": ("window", self._postgresql_gone),
            "PostgreSQL silent": ("window", self._postgresql_silent),
            "Redis gone": ("window", self._redis_gone),
            "Redis": ("redis", self._kill_redis),
            "Redis flushed": ("redis", self._flush_redis),
            "API": ("api", self._kill_api),
            "worker": ("worker", self._kill_worker),
            "worker deployed": ("worker", self._deploy_worker),
            "worker frozen": ("worker", self._freeze_worker),
            "worker frozen and replaced": ("worker", self._replace_worker),
            "shim": ("training", self._kill_shim),
            "trainer": ("training", self._kill_trainer),
            "trainer with its shim": ("training", self._kill_both),
        }
        lanes: dict[str, list[Fault]] = defaultdict(list)
        for fault in plan.faults:
            lane = self._acts[fault.kind][0]
            lanes[self._victim(fault).name if lane == "worker" else lane].append(fault)
        self._threads = [threading.Thread(target=self._live, args=(lane,), name=name) for name, lane in lanes.items()]

    def start(self) -> None:
        """Begin; the plan's clock starts now."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait until all is done, and until who was replaced has let go."""
        for thread in self._threads:
            thread.join()
        for ghost in self._ghosts:
            code = ghost.process.wait(BRIEFLY) if ghost.process is not None else None
            if code not in {LET_GO, -signal.SIGKILL}:
                self._record.exits.append(f"a worker that was frozen and replaced ended with code {code}")

    def stop(self) -> None:
        """Hurt nobody any more, and end those that were replaced."""
        self._closing.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()
        for ghost in self._ghosts:
            if ghost.process is not None and ghost.process.poll() is None:
                ghost.kill()

    def _live(self, faults: list[Fault]) -> None:
        for fault in faults:
            if self._closing.wait(max(0.0, self._began + fault.at - time.monotonic())):
                return
            try:
                if self._acts[fault.kind][1](fault):
                    self._record.done[fault.kind] += 1
            except Exception as problem:  # noqa: BLE001 - a soak goes on, and tells at the end
                self._record.troubles.append(f"{fault.kind} at {fault.at:.1f} s: {problem!r}")

    # PostgreSQL

    def _drop_one(self, fault: Fault) -> bool:
        return self._drop(f"{DROP} {SETTLED} ORDER BY pid OFFSET floor({fault.chance} * (SELECT count(*) {OURS} {SETTLED})) LIMIT 1")

    def _drop_all(self, _: Fault) -> bool:
        return self._drop(DROP)

    def _drop(self, statement: str) -> bool:
        """Drop connections as soon as there are any: a lost one lets its whole pool be closed."""
        end = time.monotonic() + HUNT_SECONDS
        with self._world.postgresql.lock:
            while not self._world.postgresql.rows(statement):
                if time.monotonic() > end or self._closing.wait(0.05):
                    return False
        return True

    def _restart_postgresql(self, _: Fault) -> bool:
        with self._world.postgresql.lock:
            self._world.postgresql.kill()
            self._world.postgresql.start()
        return True

    def _postgresql_gone(self, fault: Fault) -> bool:
        with self._calm(fault), self._world.postgresql.lock:
            self._world.postgresql.kill()
            try:
                self._probe(fault.kind)
            finally:
                self._world.postgresql.start()
        return True

    def _postgresql_silent(self, fault: Fault) -> bool:
        with self._calm(fault), self._world.postgresql.lock:
            frozen = self._world.postgresql.freeze()
            try:
                self._probe(fault.kind)
            finally:
                thaw(frozen)
        return True

    # Redis

    def _kill_redis(self, _: Fault) -> bool:
        with self._world.redis.lock:
            self._world.redis.kill()
            self._world.redis.start()
        return True

    def _flush_redis(self, _: Fault) -> bool:
        with self._world.redis.lock:
            self._world.redis.flush()
        return True

    def _redis_gone(self, fault: Fault) -> bool:
        with self._calm(fault), self._world.redis.lock, self._world.postgresql.lock:
            self._world.redis.kill()
            try:
                self._probe(fault.kind)
            finally:
                self._world.redis.start()
        return True

    @contextmanager
    def _calm(self, fault: Fault) -> Iterator[None]:
        """Hurt nothing else while something is away, begin when all is well, and see that nobody of ours dies of it."""
        with ExitStack() as held:
            watched = [self._world.api, *self._world.workers.values()]
            for part in watched:
                held.enter_context(part.lock)
            if not self._wait_for(watched):
                raise TimeoutError("not all parts are at work")
            yield
            for part in watched:
                if part.part.process is None or part.part.process.poll() is not None:
                    self._record.exits.append(f"{part.name} ended while {fault.kind}: {part.said()[-400:].decode(errors='replace')}")

    def _probe(self, window: str) -> None:
        """Ask for everything for as long as it is away."""
        end = time.monotonic() + AWAY_SECONDS
        with httpx.Client(base_url=self._world.house.url, timeout=BRIEFLY, trust_env=False) as client:
            while time.monotonic() < end:
                for method, path in (("GET", f"/projects/{PROJECT}/runs"), ("POST", f"/projects/{PROJECT}/runs"), ("GET", "/healthz")):
                    self._record.probes.append(_ask(client, window, method, path))
                self._closing.wait(PROBE_SECONDS)

    # The API and the workers

    def _kill_api(self, _: Fault) -> bool:
        self._world.api.end(signal.SIGKILL)
        return True

    def _kill_worker(self, fault: Fault) -> bool:
        self._victim(fault).end(signal.SIGKILL)
        return True

    def _deploy_worker(self, fault: Fault) -> bool:
        self._victim(fault).end(signal.SIGTERM)
        return True

    def _freeze_worker(self, fault: Fault) -> bool:
        worker = self._victim(fault)
        with worker.lock:
            if not self._wait_for([worker]):
                return False
            worker.send(signal.SIGSTOP)
            self._closing.wait(fault.seconds)
            worker.send(signal.SIGCONT)
        return True

    def _replace_worker(self, fault: Fault) -> bool:
        """Freeze a worker until another has taken over, and then thaw the ghost."""
        worker = self._victim(fault)
        with worker.lock:
            if not self._wait_for([worker]):
                return False
            ghost = worker.part
            worker.send(signal.SIGSTOP)
            self._ghosts.append(ghost)
            self._closing.wait(LEASE_SECONDS)
            worker.part = self._world.worker(worker.name, f"-{len(self._ghosts)}")
            worker.start()
            taken_over = self._wait_for([worker])
        self._closing.wait(fault.seconds)
        if taken_over and ghost.process is not None:
            ghost.process.send_signal(signal.SIGCONT)
        else:
            ghost.kill()
        return taken_over

    def _wait_for(self, parts: list[Watched]) -> bool:
        """Wait until all of them are at work; whether they are. Their locks are held."""
        end = time.monotonic() + BRIEFLY
        while not all(part.at_work() for part in parts):
            if time.monotonic() > end or self._closing.wait(0.1):
                return False
            for part in parts:
                part.tend()
        return True

    def _victim(self, fault: Fault) -> Watched:
        return self._world.workers[HOSTS[int(fault.chance * 1000) % len(HOSTS)]]

    # Trainings

    def _kill_shim(self, fault: Fault) -> bool:
        return self._hunt(fault, lambda who: [who.shim_pid])

    def _kill_trainer(self, fault: Fault) -> bool:
        return self._hunt(fault, lambda who: [who.pid])

    def _kill_both(self, fault: Fault) -> bool:
        return self._hunt(fault, lambda who: [who.shim_pid, who.pid])

    def _hunt(self, fault: Fault, prey: Callable[[tree.Command], list[int]]) -> bool:
        """Kill these processes of one living attempt that nobody has hurt yet; False when none comes by."""
        end = time.monotonic() + HUNT_SECONDS
        while not self._closing.is_set() and time.monotonic() < end:
            if living := self._living():
                run, attempt, who = living[int(fault.chance * len(living))]
                # Noted first: what follows from it may be judged before this thread runs again.
                self._record.harms.append(Harm(run, attempt, fault.kind))
                for number in (signal.SIGSTOP, signal.SIGKILL):  # at one moment: none of them sees the other's end
                    for pid in prey(who):
                        with suppress(ProcessLookupError):
                            os.kill(pid, number)
                return True
            self._closing.wait(0.05)
        return False

    def _living(self) -> list[tuple[str, int, tree.Command]]:
        """Every attempt that lives with its shim and was not hurt, in the order of its age."""
        hurt = {(harm.run, harm.attempt) for harm in self._record.harms}
        found = []
        for state in sorted(self._world.house.training.glob("runs/*/attempt-*/state.json")):
            directory = state.parent
            run, attempt = directory.parent.name, int(directory.name.rpartition("-")[2])
            if (run, attempt) in hurt or (directory / "exit.json").exists():
                continue
            who = tree.command(str(directory))
            if who and tree.shim_pid(who) and tree.lives(who):
                found.append((run, attempt, who))
        return found


def _ask(client: httpx.Client, window: str, method: str, path: str) -> Probe:
    request = f"{method} {path}"
    headers = {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
    # A launch that is refused by its own words reaches neither the rows nor Redis: this one is a real run of one step.
    content = json.dumps({"labels": {"probe": window}, "hyperparameters": PROBED}) if method == "POST" else None
    began = time.monotonic()
    try:
        answer = client.request(method, path, headers=headers, content=content)
    except httpx.TransportError as problem:
        return Probe(window, request, 0, time.monotonic() - began, None, repr(problem))
    return Probe(window, request, answer.status_code, time.monotonic() - began, answer.headers.get("Retry-After"), answer.text[:300])


PROBED = {
    "toy_steps": 2,
    "toy_pace": 0.02,
    "toy_lines": 1,
    "toy_save_steps": 9,
    "toy_exit": 0,
    "toy_stubborn": "no",
    "toy_child": "",
    "toy_in_place": "no",
}
"""What a run does that was launched as a probe."""
