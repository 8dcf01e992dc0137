"""`tuneyard up`: Redis, API and host worker as processes of ours, from one command to one Ctrl-C; trainings outlive all of it.

Each part is restarted when it dies, since all of it is in the database and a worker adopts what still trains.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuneyard import show
from tuneyard.children import Child, echo, module, tied
from tuneyard.client import Client
from tuneyard.connection import TuneyardError
from tuneyard.plan import Plan, UpError, Wish, home_of, plan_for

READY_SECONDS = 60.0
"""What is not there by then will not be; a large migration may take its time."""
WORKER_PATIENCE, API_PATIENCE, REDIS_PATIENCE = 1.5, 1.0, 0.5
"""Seconds each part has to end: together the three seconds in which Ctrl-C is done."""


def up(wish: Wish, out: Console, err: Console, *, as_json: bool) -> None:
    """Start everything, say where it is, and keep it alive until told to stop."""
    home = home_of(wish)
    with _only_one(home) as lock, stop_signals() as stop:
        plan = plan_for(wish, home, os.environ)
        lock.write(f"pid {os.getpid()}, {plan.url}")
        lock.flush()
        yard = Yard(plan, lambda text: err.print(text, style="yellow", soft_wrap=True), verbose=wish.verbose)
        try:
            if yard.start(stop):
                _greet(plan, out, as_json=as_json)
                yard.tend(stop)
                _take_leave(plan, out, as_json=as_json)
        finally:
            yard.end()


class Yard:
    """The running parts."""

    def __init__(self, plan: Plan, say: Callable[[str], None], *, verbose: bool = False) -> None:
        self._plan = plan
        self._say = say
        self._verbose = verbose
        self._due: dict[Child, float] = {}
        logs = plan.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._environment = dict(plan.environment)
        redis = module("infra.embedded", "redis", str(os.getpid()), str(plan.home / "redis"))
        self._redis = Child("redis", redis, self._environment, logs / "redis.log")
        self._api = Child("api", tied(*module("api")), self._environment, logs / "api.log")
        self._worker = Child("worker", tied(*module("workers")), self._environment, logs / "worker.log")
        self._children: list[Child] = []

    def start(self, stop: int | None = None) -> bool:
        """Start all parts; UpError when the API cannot be had, False when `stop` became readable before all was up."""
        if not self._environment.get("REDIS_URL"):
            self._start_redis()
        with Client(self._plan.url, self._environment.get("TUNEYARD_TOKEN"), timeout=2.0) as client:
            if not self._wait_for(self._api, client.ready, stop):
                return False
            if not client.ready():
                raise UpError("the API cannot start:\n  " + "\n  ".join(self._api.last_words()))
            # Only now, so that one process alone creates the database.
            return self._wait_for(self._worker, lambda: _has_a_worker(client), stop)

    def tend(self, stop: int) -> None:
        """Start again what dies, until `stop` becomes readable."""
        while True:
            watched = [child.pidfd for child in self._children if child not in self._due]
            wait = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
            ready = select.select([stop, *watched], [], [], wait)[0]
            if stop in ready:
                return
            for child in self._children:
                if child.pidfd in ready and child not in self._due:
                    self._mourn(child)
                elif self._due.get(child, float("inf")) <= time.monotonic():
                    del self._due[child]
                    child.start_and_hear() if child is self._redis else child.start()

    def end(self) -> None:
        """End all parts: first those that use the others."""
        for child, patience in ((self._worker, WORKER_PATIENCE), (self._api, API_PATIENCE), (self._redis, REDIS_PATIENCE)):
            child.end(patience)

    def _start_redis(self) -> None:
        url = self._redis.start_and_hear()
        if url:
            self._environment["REDIS_URL"] = url
            self._add(self._redis)
        else:
            reason = " ".join(self._redis.last_words(1))
            self._say(f"without Redis: {reason}; all works, but a host notices work only every few seconds")

    def _wait_for(self, child: Child, there: Callable[[], bool], stop: int | None) -> bool:
        """Start a part and wait until it is there, dead, or given up; False when `stop` became readable first."""
        self._add(child)
        child.start()
        give_up = time.monotonic() + READY_SECONDS
        while child.code is None and not there() and time.monotonic() < give_up:
            if select.select([] if stop is None else [stop], [], [], 0.05)[0]:
                return False
        return True

    def _add(self, child: Child) -> None:
        self._children.append(child)
        if self._verbose:
            child.log.touch()
            echo(child)

    def _mourn(self, child: Child) -> None:
        pause = child.pause()
        self._due[child] = time.monotonic() + pause
        words = "".join(f"\n  {line}" for line in child.last_words())
        self._say(f"the {child.name} ended with {child.code} and is started again in {pause:g} s; its log {child.log} ends:{words}")


def _has_a_worker(client: Client) -> bool:
    try:
        return any(host["live"] for host in client.health()["hosts"])
    except TuneyardError:
        return False


@contextlib.contextmanager
def stop_signals() -> Iterator[int]:
    """Give a file descriptor that becomes readable when somebody wants us to stop; until then nothing interrupts us."""
    reader, writer = socket.socketpair()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with reader, writer:
        os.set_blocking(writer.fileno(), False)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        earlier = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader.fileno()
        finally:
            signal.set_wakeup_fd(earlier)
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[IO[str]]:
    """Hold the folder by a lock, and give the file to say who we are; UpError names whoever holds it already."""
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read().strip()
            raise UpError(f"Tuneyard already runs on {home} ({who}); stop that one, or choose another folder with --data") from None
        lock.truncate(0)
        yield lock


def _greet(plan: Plan, out: Console, *, as_json: bool) -> None:
    """The first screen: where everything is."""
    if as_json:
        show.print_json({"url": plan.url, "pid": os.getpid(), "logs": str(plan.home / "logs")}, one_line=True)
        return
    environment = plan.environment
    rows = {
        "Tuneyard": Text(f"{plan.url}  (docs to try out: {plan.url}/docs)", style="green"),
        "database": Text(_masked(environment.get("TRAINING_DB_URL", "sqlite:///./training.db"))),
        "trainings": Text(f"{environment['HOST_TRAINING_PATH']}  (executor: {environment['TUNEYARD_EXECUTOR']})"),
        "logs": Text(str(plan.home / "logs")),
        "note": Text(plan.note or "", style="yellow"),
        "Ctrl-C": Text("stops Tuneyard and leaves running trainings alone", style="dim"),
    }
    screen = Table.grid(padding=(0, 2, 0, 0))
    screen.add_column(style="bold")
    screen.add_column(overflow="fold")
    for name, text in rows.items():
        if text:
            screen.add_row(name, text)
    out.print(screen)


def _take_leave(plan: Plan, out: Console, *, as_json: bool) -> None:
    """Say what goes on without us."""
    try:
        with Client(plan.url, plan.environment.get("TUNEYARD_TOKEN"), timeout=0.5) as client:
            living = int(client.health()["living"])
    except TuneyardError:
        trainings = "Running trainings go on by themselves"
    else:
        trainings = {0: "No training is running", 1: "1 training goes on by itself"}.get(living, f"{living} trainings go on by themselves")
    adopted = "" if trainings.startswith("No") else "; the next `tuneyard up` adopts what runs"
    if not as_json:
        out.print(f"\nTuneyard stops. {trainings}{adopted}.", soft_wrap=True)


def _masked(url: str) -> str:
    """A database URL without its password."""
    scheme, separator, rest = url.partition("://")
    who, at, where = rest.rpartition("@")
    return f"{scheme}{separator}{who.partition(':')[0]}:***@{where}" if at and ":" in who else url
