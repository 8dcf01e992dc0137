"""`python -m infra.jobs FOLDER`: take personal data out of the files that `order.json` in that folder names.

Everything under way lies in the folder, so whoever begins again goes on behind the last chunk. Exit codes: 0 done (`report.json` says what
was done), 2 what was given cannot be used (the last line says why), 143 asked to stop.
"""

import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import msgspec

from domain.deid.keys import Keyring
from domain.deid.policy import Policy
from domain.errors import DomainError
from domain.jobs.hosting import BAD_INPUT
from domain.jobs.job import BadLines, Done, Source
from infra.deid.engine import Recipe
from infra.deid.keyfile import load_keyring
from infra.files.atomic import replace_file
from infra.files.reading import open_data
from infra.files.rewrite import Rewriting, State, Stopped
from infra.files.store import FileStore
from infra.jobs.chunks import open_recipe, rewriter_of
from infra.jobs.order import Order
from infra.settings import Settings, SettingsError, load

NICENESS = 10
"""A training on the same processors goes first."""
TELL_SECONDS = 0.5
WHOLE_DATASET = "dataset"
"""What stands for the seed where none was asked for: one person stays one person across files, jobs and hosts."""
KEYS = ("TUNEYARD_DEID_KEY_FILE", "TUNEYARD_DEID_KEYS")
"""The settings that the worker hands on."""
STOPPED = 128 + signal.SIGTERM


class BadLine(Exception):
    """A line cannot be read, and the order is to fail then."""


class Work:
    """One order, on its way."""

    def __init__(self, folder: Path, order: Order, pool: ProcessPoolExecutor, processes: int) -> None:
        self._folder = folder
        self._order = order
        self._pool = pool
        self._processes = processes
        self._total = sum(source.bytes for source in order.sources) or 1
        self._store = FileStore(Path(order.root))
        self._before = 0
        self._told = 0.0
        self.stop = False

    def run(self) -> list[Done]:
        """Work through every file; Stopped, or BadLine, when it ends before that."""
        done = []
        for number, source in enumerate(self._order.sources):
            done.append(self._one(number, source))
            self._before += source.bytes
        return done

    def _one(self, number: int, source: Source) -> Done:
        rewriting = Rewriting(self._folder / f"{number}.part")
        finished = self._folder / f"{number}.done"
        self._require_no_bad_line(source, rewriting.state)  # an attempt before may have been killed when it had just noted one
        if not finished.exists():
            _say(f"{source.name}: from byte {rewriting.state.source:,} on")
            with open_data(Path(self._order.root), source.stored_name, ratio=self._order.ratio) as file:
                state = rewriting.run(file, rewriter_of(source.name), self._pool, self._processes, lambda state: self._heard(source, state))
            replace_file(finished, msgspec.json.encode(self._done(source, rewriting, state)))
        done = msgspec.json.decode(finished.read_bytes(), type=Done)
        if done.sha256 != source.sha256 and rewriting.target.exists():
            self._store.adopt(rewriting.target, done.sha256, source.name)
            rewriting.target.unlink()
        return done

    def _require_no_bad_line(self, source: Source, state: State) -> None:
        if state.bad and self._order.bad_lines is BadLines.fail:
            line = state.bad_numbers[0]
            message = f"{source.name}: line {line} cannot be read; mend it, or let such lines be set aside (bad_lines: quarantine)"
            raise BadLine(message)

    def _heard(self, source: Source, state: State) -> None:
        self._require_no_bad_line(source, state)
        if time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            part = min(state.source, source.bytes)  # of a packed file it is a guess, and never goes back
            progress = round((self._before + part) / self._total, 4)
            print(msgspec.json.encode({"progress": progress, "lines": state.lines}).decode(), flush=True)  # noqa: T201 - read by the worker
        if self.stop:
            raise Stopped

    def _done(self, source: Source, rewriting: Rewriting, state: State) -> Done:
        """Say what came out, and where it will lie; where nothing had to be changed, that is what came in."""
        stored_name, sha256, size = source.stored_name, source.sha256, source.bytes
        if state.changed or state.bad:
            sha256, size = rewriting.sha256(), state.target
            stored_name = self._store.path_of(sha256, source.name).relative_to(self._store.root).as_posix()
        return Done(
            upload_id=source.upload_id,
            name=source.name,
            lines=state.lines,
            changed_lines=state.changed,
            found=state.found,
            bad_lines=state.bad,
            bad_line_numbers=state.bad_numbers,
            quarantine=rewriting.quarantine.relative_to(self._order.root).as_posix() if state.bad else None,
            source_sha256=source.sha256,
            sha256=sha256,
            stored_name=stored_name,
            bytes=size,
        )


def main(folder: Path) -> int:
    """Do what the order says; an exit code."""
    os.nice(NICENESS)
    report = folder / "report.json"
    if report.exists():
        return 0  # an earlier attempt came so far, and was killed before it could say so
    order = msgspec.json.decode((folder / "order.json").read_bytes(), type=Order)
    try:
        recipe = _recipe(order, load({name: os.environ[name] for name in KEYS if name in os.environ}))
    except SettingsError as wrong:
        return _refused(str(wrong))
    processes = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(processes, get_context("spawn"), open_recipe, (recipe,)) as pool:
        work = Work(folder, order, pool, processes)
        signal.signal(signal.SIGTERM, lambda *_: setattr(work, "stop", True))
        try:
            done = work.run()
        except (Stopped, BadLine, DomainError, BrokenProcessPool) as ended:
            pool.shutdown(wait=False, cancel_futures=True)
            if work.stop:
                return STOPPED  # a pool is also broken by a stop that meets a process which is not ready yet
            if isinstance(ended, BrokenProcessPool):
                raise
            return _refused(ended.detail if isinstance(ended, DomainError) else str(ended))
    replace_file(report, msgspec.json.encode(done))
    return 0


def _recipe(order: Order, settings: Settings) -> Recipe:
    """Return the frozen policy with the key that the job was ordered under; SettingsError when this host does not have that key."""
    ring = load_keyring(settings)
    key = next((key for key in ring.keys if key.id == order.key_id), None)
    if key is None:
        message = (
            f"the job was ordered under the key {order.key_id}, which this host does not have; give it the same TUNEYARD_DEID_KEY_FILE"
        )
        raise SettingsError(message)
    first = Keyring(keys=(key, *(each for each in ring.keys if each != key)), test_only=ring.test_only)
    policy = msgspec.json.decode(order.policy, type=Policy)
    return Recipe(policy=policy, ring=first, seed=WHOLE_DATASET if order.seed is None else order.seed)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is the job's log


def _refused(why: str) -> int:
    _say(why)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
