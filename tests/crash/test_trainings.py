"""Trainings die, alone or with their shims, or do not want to die: the truth is told, and an unknown end is never called a success."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.executors import shim
from tests.crash.counted import SAVES, Counted, dawdle, in_the_middle_of_a_start, kill_both, lives, pids_of, shims
from tests.house import House, eventually
from tests.toys import scatter


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share; a failed attempt is followed by the next at once."""
    folder = tmp_path_factory.mktemp("house")
    quick = {"TUNEYARD_RETRY_SECONDS": "0.1", "TUNEYARD_SWEEP_SECONDS": "0.3"}
    house = House(folder, f"sqlite:///{folder}/training.db", TUNEYARD_SLOTS="50", **quick).start()
    yield house
    house.close()


def test_a_training_killed_with_its_shim_is_tried_three_times_and_never_succeeded(house: House) -> None:
    toy = Counted(house, held=True, name="killed")
    run = toy.counting()

    for attempt in (1, 2, 3):
        state = toy.recorded(run, "state.json", attempt)
        eventually(lambda: len(toy.starts()) == attempt)  # noqa: B023 - asked at once
        kill_both(state["shim_pid"], state["pid"])

    ended = toy.ended(run)
    assert ("failed", None, "infrastructure") == (ended["status"], ended["exit_code"], ended["failure"]["class"])
    assert [1, 2, 3] == [each["number"] for each in ended["attempts"]]
    assert all("left no exit record" in each["failure"]["reason"] for each in ended["attempts"])
    assert 3 == len(toy.starts())


def test_a_second_attempt_goes_on_from_the_newest_complete_checkpoint(house: House) -> None:
    toy = Counted(house, held=True, name="again", first=f'{SAVES}grep -h resume_from "$1"; [ "$(ls "$TUNEYARD_OUTPUT_DIR")" ] || save 7')
    run = toy.counting()
    state = toy.recorded(run, "state.json")

    kill_both(state["shim_pid"], state["pid"])
    toy.recorded(run, "state.json", 2)
    toy.let_go()

    ended = toy.ended(run)
    assert ("succeeded", 0, [1, 2]) == (ended["status"], ended["exit_code"], [each["number"] for each in ended["attempts"]])
    (resumed,) = [line for line in toy.said(run) if line.startswith("resume_from_checkpoint")]
    assert resumed.rstrip("\"'").endswith("/output/checkpoint-7")
    assert 2 * toy.expected == [line for line in toy.said(run) if line.startswith("L ")]


def test_a_training_killed_alone_failed_by_a_signal_and_is_not_tried_again(house: House) -> None:
    toy = Counted(house, held=True, name="alone")
    run = toy.counting()

    os.kill(toy.trainer(run), signal.SIGKILL)

    ended = toy.ended(run)
    assert ("failed", None) == (ended["status"], ended["exit_code"])
    assert "killed by signal 9 that Tuneyard did not send" in ended["failure"]["reason"]
    assert [1] == [each["number"] for each in ended["attempts"]]
    assert toy.expected == toy.said(run)


def test_a_training_whose_shim_was_killed_goes_on_and_its_unknown_end_is_no_success(house: House) -> None:
    toy = Counted(house, held=True, name="shimless")
    run = toy.counting()
    state = toy.recorded(run, "state.json")

    os.kill(state["shim_pid"], signal.SIGKILL)
    eventually(lambda: toy.conditions(run) == ["shim_lost"])
    assert lives(state["pid"])
    assert "running" == toy.show(run)["status"]
    toy.let_go()

    ended = toy.ended(run)
    assert [None, 0] == [each["exit_code"] for each in ended["attempts"]]
    assert "left no exit record" in ended["attempts"][0]["failure"]["reason"]
    assert ("succeeded", 0, []) == (ended["status"], ended["exit_code"], ended["conditions"])
    assert 2 * toy.expected == [line for line in toy.said(run) if line.startswith("L ")]


def test_a_training_whose_shim_was_killed_is_still_stopped_and_keeps_its_checkpoint(house: House) -> None:
    saves = f"{SAVES}trap 'save 7; exit 143' TERM\n(while :; do sleep 0.05; done) & wait\n"
    toy = Counted(house, name="unshimmed", first=saves)
    run = toy.launch()
    state = toy.recorded(run, "state.json")
    eventually(lambda: toy.show(run)["status"] == "running")
    os.kill(state["shim_pid"], signal.SIGKILL)

    toy.cancel(run)

    ended = toy.ended(run)
    assert ("cancelled", None) == (ended["status"], ended["exit_code"])
    assert [("checkpoint-7", True)] == [(each["name"], each["complete"]) for each in ended["artifacts"]]
    assert (toy.directory(run) / "stop").exists()
    assert not pids_of(toy.directory(run))


def test_a_shim_killed_before_its_training_began_is_the_infrastructures_failure_and_tried_again(house: House) -> None:
    toy = Counted(house, name="stillborn")
    with in_the_middle_of_a_start(toy) as (run, launcher):
        kill_both(*(pid for pid in shims(toy, run) if pid != launcher))

    ended = toy.ended(run)
    assert ("succeeded", 0) == (ended["status"], ended["exit_code"])
    assert [1, 2] == [each["number"] for each in ended["attempts"]]
    assert "the shim was killed before the command began" in ended["attempts"][0]["failure"]["reason"]
    assert 1 == len(toy.starts())


def test_a_launcher_killed_in_the_middle_of_a_start_costs_nothing(house: House) -> None:
    toy = Counted(house, name="launcher")
    with in_the_middle_of_a_start(toy) as (run, launcher):
        os.kill(launcher, signal.SIGKILL)
        eventually(lambda: not lives(launcher))

    toy.assert_whole(run)
    assert [1] == [each["number"] for each in toy.show(run)["attempts"]]


def test_a_start_that_a_frozen_launch_holds_up_is_made_when_that_has_died(house: House) -> None:
    toy = Counted(house, name="held up")
    house.worker.kill()
    run = toy.launch()
    with _frozen_before_its_claim(toy, run):
        house.worker.start()
        eventually(lambda: toy.show(run)["status"] == "starting")
        dawdle(2 * shim.PATIENCE)
        assert [] == toy.starts()

    toy.assert_whole(run)


def test_a_start_that_a_frozen_launch_holds_up_can_be_cancelled(house: House) -> None:
    toy = Counted(house, name="held up and cancelled")
    house.worker.kill()
    run = toy.launch()
    with _frozen_before_its_claim(toy, run):
        house.worker.start()
        eventually(lambda: toy.show(run)["status"] == "starting")

        toy.cancel(run)

        assert "cancelled" == toy.ended(run)["status"]
    assert [] == toy.starts()


def test_a_cancel_leaves_nothing_alive_of_a_training_that_forks_away_and_ignores_term(house: House) -> None:
    project = house.project("scattered", script=f"exec \"$PYTHON\" -S '{scatter.__file__}'\n")
    run = house.launch(project)
    eventually(lambda: sum(line.startswith("pid ") for line in house.lines(project, run)) == 2)
    directory = house.training / "runs" / house.run(project, run)["id"] / "attempt-1"
    pids = {int(line.split()[1]) for line in house.lines(project, run) if line.startswith("pid ")}
    assert pids <= pids_of(directory)

    cancelled = house.ok("POST", f"/projects/{project}/runs/{run}/cancel?force=true", headers={"Prefer": "wait=20"})

    assert ("cancelled", []) == (cancelled["status"], cancelled["conditions"])
    assert not pids_of(directory)
    assert not any(map(lives, pids))


def test_forty_trainings_at_once_each_start_once(house: House) -> None:
    toy = Counted(house, lines=5, name="forty")

    runs = [toy.launch() for _ in range(40)]

    for run in runs:
        toy.assert_whole(run)
    assert 40 == len(toy.starts())


@contextmanager
def _frozen_before_its_claim(toy: Counted, run: str) -> Iterator[None]:
    """Stand in for the launch of another worker, which holds the lock and has not claimed the attempt; then it dies."""
    toy.directory(run).mkdir(parents=True)
    lock = os.open(toy.directory(run) / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)
