"""Trainings die, alone or with their shims: the truth is told, and an unknown end is never called a success."""

import os
import signal

from tests.crash.counted import Counted, kill_both, lives
from tests.house import House, eventually


def test_a_training_killed_with_its_shim_failed_and_never_succeeded(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    state = toy.recorded(run, "state.json")

    kill_both(state["shim_pid"], state["pid"])

    ended = toy.ended(run)
    assert ("failed", None, "infrastructure") == (ended["status"], ended["exit_code"], ended["failure"]["class"])
    assert "left no exit record" in ended["failure"]["reason"]
    assert toy.expected == toy.said(run)


def test_a_training_killed_alone_failed_by_a_signal(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()

    os.kill(toy.recorded(run, "state.json")["pid"], signal.SIGKILL)

    ended = toy.ended(run)
    assert ("failed", None) == (ended["status"], ended["exit_code"])
    assert "killed by signal 9 that Tuneyard did not send" in ended["failure"]["reason"]
    assert toy.expected == toy.said(run)


def test_a_training_whose_shim_was_killed_goes_on_and_its_unknown_end_is_no_success(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    state = toy.recorded(run, "state.json")

    os.kill(state["shim_pid"], signal.SIGKILL)
    eventually(lambda: not lives(state["shim_pid"]))
    assert lives(state["pid"])
    assert "running" == toy.show(run)["status"]
    toy.let_go()

    ended = toy.ended(run)
    assert ("failed", None, "infrastructure") == (ended["status"], ended["exit_code"], ended["failure"]["class"])
    assert toy.expected == toy.said(run)


def test_forty_trainings_at_once_each_start_once(house: House) -> None:
    toy = Counted(house, lines=5)

    runs = [toy.launch() for _ in range(40)]

    for run in runs:
        toy.assert_whole(run)
    assert 40 == len(toy.starts())
