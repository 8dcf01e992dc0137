"""A host falls silent, is declared dead, is restarted, or its clock is wrong: nothing runs twice, and what still lives is seen to."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.counted import SAVES, Counted, dawdle, in_the_middle_of_a_start, kill_both, live, lives, pids_of
from tests.house import House, eventually
from tests.proxy import proxied

LEASE = 1
MANY = 50
FAR_OUTSIDE = 10.0
"""Seconds; two on a machine that does nothing else."""


def test_a_run_on_a_lost_host_is_declared_dead_and_killed_before_its_host_works_again(
    make_house: Callable[..., House], sqlite_url: str
) -> None:
    house = make_house(sqlite_url, TUNEYARD_LEASE_SECONDS="1", TUNEYARD_SWEEP_SECONDS="0.3", TUNEYARD_GPUS="1")
    toy = Counted(house, held=True)
    run = toy.counting()
    trainer = toy.trainer(run)
    path = f"/projects/{toy.name}/runs/{run}/declare-dead"
    assert 409 == house.client.post(path).status_code

    house.worker.kill()
    eventually(lambda: toy.conditions(run) == ["host_lost"])
    declared = house.ok("POST", path)
    assert ("failed", "infrastructure", []) == (declared["status"], declared["failure"]["class"], declared["conditions"])
    assert lives(trainer)
    after = toy.launch()
    house.worker.start()

    eventually(lambda: toy.total(after) > len(toy.expected))
    assert not pids_of(toy.directory(run))
    toy.let_go()
    toy.assert_whole(after)
    assert declared == toy.show(run)


def test_a_start_on_a_host_that_fell_silent_is_not_made_on_another(make_house: Callable[..., House], postgresql_url: str) -> None:
    with proxied(postgresql_url) as (line, url):
        house = make_house(postgresql_url, TUNEYARD_LEASE_SECONDS=str(LEASE), TUNEYARD_SWEEP_SECONDS="0.3")
        house.worker.environment["TRAINING_DB_URL"] = url
        toy = Counted(house)
        with in_the_middle_of_a_start(toy) as (run, _):
            line.blackhole()
            house.another("other", TRAINING_DB_URL=postgresql_url)
            eventually(lambda: toy.conditions(run) == ["host_lost"])
            dawdle(3 * LEASE)

            assert ("starting", 1, "testhost") == tuple(toy.show(run)[key] for key in ("status", "attempt", "host"))
        eventually(toy.starts)
        line.pass_on()

        toy.assert_whole(run)
        assert "testhost" == toy.show(run)["host"]


def test_a_host_that_was_restarted_tells_what_died_with_it_from_what_had_ended_before(
    make_house: Callable[..., House], sqlite_url: str, tmp_path: Path
) -> None:
    house = make_house(sqlite_url, TUNEYARD_RETRY_SECONDS="0.1", TUNEYARD_SWEEP_SECONDS="0.3", TUNEYARD_LEASE_SECONDS="1")
    # All trainings of a house start the newest script: the one that is tried again comes last.
    toys = []
    for name, code in (("finishing", 7), ("cancelling", 0), ("running", 0)):
        toy = Counted(house, held=True, name=name, code=code, first="trap '' TERM")
        toys.append((toy, toy.counting()))
    (finishing, finished), (cancelling, cancelled), (running, run) = toys
    cancelling.cancel(cancelled)
    house.worker.kill()
    finishing.let_go()
    finishing.recorded(finished, "exit.json")
    for toy, its_run in toys[1:]:
        state = toy.recorded(its_run, "state.json")
        kill_both(state["shim_pid"], state["pid"])
    eventually(lambda: not live(house))

    with _worker(house, *_after_a_restart(tmp_path)):
        running.let_go()
        ended = running.ended(run)
        assert "cancelled" == cancelling.ended(cancelled)["status"]
        finishing.assert_whole(finished, status="failed", code=7)

    assert ("succeeded", [1, 2]) == (ended["status"], [each["number"] for each in ended["attempts"]])
    assert "the machine was restarted while it ran" in ended["attempts"][0]["failure"]["reason"]


def test_a_clock_that_is_wrong_by_an_hour_costs_neither_a_lease_nor_a_line_nor_the_grace(
    make_house: Callable[..., House], postgresql_url: str
) -> None:
    house = make_house(postgresql_url, TUNEYARD_SWEEP_SECONDS="0.3", TUNEYARD_LEASE_SECONDS="4")
    toy = Counted(house, lines=5_000, rate=500)
    run = toy.launch()
    toy.wait_for(run, 100)
    saving = Counted(house, name="saving", first=f"{SAVES}trap 'sleep 1; save 7; exit 143' TERM\n(while :; do sleep 0.05; done) & wait\n")

    house.worker.kill()
    for hours in (1, -1):
        with _worker(house, *_at_another_time(hours)):
            saved = saving.launch()
            saving.wait_for(saved, 1)
            saving.cancel(saved)
            assert ["checkpoint-7"] == [each["name"] for each in saving.ended(saved)["artifacts"]]
            assert live(house)
    house.worker.start()

    toy.assert_whole(run)
    times = [each["timestamp"] for each in house.log_items(toy.name, run)]
    assert sorted(times) == times


@pytest.mark.bench
def test_fifty_living_runs_are_adopted_at_once(make_house: Callable[..., House], sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_SLOTS=str(MANY))
    project = house.project(script="echo here; exec sleep 1000\n")
    for _ in range(MANY):
        house.launch(project)
    database = house.folder.parent / "training.db"
    eventually(lambda: _stored(database, len("here\n")) == MANY, within=40)
    house.worker.kill()
    for log in house.training.glob("runs/*/attempt-1/out.log"):
        with log.open("ab") as output:
            output.write(b"there\n")

    house.worker.start()
    eventually(lambda: house.worker.log.read_text().count("is at work") == 2)
    began = time.monotonic()
    eventually(lambda: _stored(database, len("here\nthere\n")) == MANY)
    took = time.monotonic() - began

    assert took < FAR_OUTSIDE


def _stored(database: Path, size: int) -> int:
    """How many trainings have so many bytes of their output stored."""
    with closing(sqlite3.connect(database)) as rows:
        return int(rows.execute("SELECT count(*) FROM processes WHERE log_offset = ?", (size,)).fetchone()[0])


def _after_a_restart(folder: Path) -> list[str]:
    """What shows a worker another boot id."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("another boot id needs a mount namespace, and that root")
    boot_id = folder / "boot_id"
    boot_id.write_text("00000000-0000-4000-8000-000000000000\n")
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', str(boot_id)]


def _at_another_time(hours: int) -> list[str]:
    """What shows a worker a wrong clock."""
    if shutil.which("faketime") is None:
        pytest.skip("a wrong clock needs faketime (apt-get install faketime)")
    return ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", f"{hours:+}h"]


@contextmanager
def _worker(house: House, *within: str) -> Iterator[None]:
    """Have a worker that runs within something."""
    command = [*within, sys.executable, "-P", "-m", "workers"]
    with (house.folder / "within.log").open("ab") as log:
        worker = subprocess.Popen(command, env=house.environment, stdout=log, stderr=log, cwd=house.folder, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
