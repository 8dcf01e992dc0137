"""Workers die, freeze, are replaced and deployed anew; trainings and their logs do not notice."""

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.crash.counted import SAVES, Counted, children, dawdle, frozen, live, lives
from tests.house import House, Part, eventually

PROMPTLY = 5.0
"""Seconds that a stop may take on a machine that others use too; one that waited for a training would take for ever."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_worker_costs_no_log_line(
    request: pytest.FixtureRequest, make_house: Callable[..., House], redis_url: str, kind: str
) -> None:
    house = make_house(request.getfixturevalue(f"{kind}_url"), redis_url)
    toy = Counted(house, lines=3_000, rate=2_000, code=3)
    run = toy.launch()

    for lines in (300, 1_000):
        toy.wait_for(run, lines)
        house.worker.kill()
        house.worker.start()

    toy.assert_whole(run, status="failed", code=3)


def test_a_worker_killed_around_a_start_starts_every_run_once(house: House) -> None:
    toy = Counted(house, lines=20)
    chance, runs = random.Random(1), []

    for _ in range(4):
        runs += [toy.launch() for _ in range(3)]
        dawdle(chance.random() / 5)
        house.worker.kill()
        house.worker.start()

    for run in runs:
        toy.assert_whole(run)
    assert len(runs) == len(toy.starts())


def test_a_run_launched_while_no_worker_lives_is_started_by_the_next(house: House) -> None:
    toy = Counted(house)
    house.worker.kill()
    run = toy.launch()

    house.worker.start()

    toy.assert_whole(run)


def test_a_training_that_ended_while_no_worker_lived_is_settled_with_its_true_exit_code(house: House) -> None:
    toy = Counted(house, code=7, held=True)
    run = toy.counting()
    house.worker.kill()
    toy.let_go()
    assert 7 == toy.recorded(run, "exit.json")["code"]
    assert "running" == toy.show(run)["status"]

    house.worker.start()

    toy.assert_whole(run, status="failed", code=7)


def test_a_stopped_worker_leaves_its_trainings_alone_and_its_starts_to_the_next(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    trainer = toy.recorded(run, "state.json")["pid"]
    starting = [toy.launch() for _ in range(5)]
    began = time.monotonic()

    code = house.worker.stop()

    assert 0 == code
    assert time.monotonic() - began < PROMPTLY
    assert lives(trainer)
    assert "running" == toy.show(run)["status"]
    house.worker.start()
    toy.let_go()
    for each in (run, *starting):
        toy.assert_whole(each)


def test_a_worker_killed_while_it_cancels_costs_no_second_grace(make_house: Callable[..., House], sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_GRACE_SECONDS="3", TUNEYARD_SWEEP_SECONDS="0.2")
    toy = Counted(house, held=True, first="trap '' TERM")
    run = toy.counting()
    trainer = toy.trainer(run)
    toy.cancel(run)
    stop = toy.directory(run) / "stop"
    asked = eventually(lambda: stop.exists() and stop.stat().st_mtime)

    house.worker.kill()
    dawdle(1)
    house.worker.start()
    adopted = eventually(lambda: house.worker.log.read_text().count("is at work") == 2 and time.time())
    eventually(lambda: not lives(trainer))

    took = time.time() - asked
    assert "cancelled" == toy.ended(run)["status"]
    assert took >= 3
    assert took < max(3.0, adopted - asked) + 2 + 1  # the second word, and a little


def test_a_ghost_changes_nothing_whatever_it_was_about(make_house: Callable[..., House], postgresql_url: str, redis_url: str) -> None:
    soon = "&options=-c%20idle_in_transaction_session_timeout%3D1s"
    house = make_house(postgresql_url + soon, redis_url, TUNEYARD_LEASE_SECONDS="1", TUNEYARD_SWEEP_SECONDS="0.3")
    running = Counted(house, lines=1_500, rate=500, name="running")
    run = running.launch()
    running.wait_for(run, 300)
    saving = Counted(house, held=True, name="saving", first=f"{SAVES}trap '' TERM\nsave 7")
    cancelled = saving.counting()
    saving.cancel(cancelled)
    starting = Counted(house, lines=5, name="starting")
    with _frozen_in_a_start(starting) as started:
        eventually(lambda: not live(house))
        second = Part("workers", house.environment, house.folder / "worker-2.log")
        second.start()
        running.wait_for(run, running.total(run) + 1)
        starting.assert_whole(started)

    ghost = house.worker.process
    assert ghost is not None
    try:
        assert 3 == ghost.wait(10)
        running.assert_whole(run)
        saving.cancel(cancelled, force=True)
        assert "cancelled" == saving.ended(cancelled)["status"]
        starting.assert_whole(started)
    finally:
        second.kill()
    assert "another worker speaks for host testhost now; this one lets go" in house.worker.log.read_text()


def test_a_second_worker_of_a_host_is_refused_with_a_sentence(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    second = Part("workers", house.environment, house.folder / "worker-2.log")

    second.start()
    assert second.process is not None

    assert 3 == second.process.wait(10)
    assert second.log.read_text().rstrip().endswith("a worker for host testhost is already running on this machine")
    toy.let_go()
    toy.assert_whole(run)


@contextmanager
def _frozen_in_a_start(toy: Counted) -> Iterator[str]:
    """Freeze the worker and its launcher while that waits for the lock of a new run, which is free by then; give the run."""
    worker = toy.house.worker.process
    assert worker is not None
    with frozen(worker.pid):
        run = toy.launch()
        toy.directory(run).mkdir(parents=True)
        lock = os.open(toy.directory(run) / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
    eventually(lambda: (toy.directory(run) / "spec.json").exists() and children(worker.pid))
    with frozen(worker.pid, *children(worker.pid)):
        os.close(lock)
        yield run
