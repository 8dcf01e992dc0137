"""The disk of a host is full: nothing is started there and the reason is said, an exit is still recorded, and a cancel needs no file."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.counted import TOY, Counted
from tests.house import House

ROOM = "32m"
FILES = 300


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house whose training directory is a small disk of its own."""
    house = House(tmp_path / "house", f"sqlite:///{tmp_path}/training.db", TUNEYARD_SWEEP_SECONDS="0.3")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM},nr_inodes={FILES}", "tmpfs", str(house.training)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk needs root")
    try:
        yield house.start()
    finally:
        house.close()
        subprocess.run(["umount", "--lazy", house.training], check=True)


def test_a_training_that_fills_the_disk_ends_with_its_true_exit_code_and_the_next_is_refused_with_the_reason(house: House) -> None:
    project = house.project(script=f"exec \"$PYTHON\" -S '{TOY.with_name('fill.py')}'\n")
    filling = house.launch(project)
    assert ("failed", 28) == tuple(house.ended(project, filling, within=40)[key] for key in ("status", "exit_code"))

    refused = house.ended(project, house.launch(project))

    assert ("failed", "infrastructure") == (refused["status"], refused["failure"]["class"])
    assert "is full: " in (reason := refused["failure"]["reason"]) or "No space left on device" in reason


def test_a_cancel_on_a_disk_that_takes_no_file_more_falls_back_to_signals(house: House) -> None:
    toy = Counted(house, held=True, first='n=0; while : > "$TUNEYARD_OUTPUT_DIR/$((n += 1))"; do :; done 2> /dev/null')
    run = toy.counting()

    toy.cancel(run)

    assert "cancelled" == toy.ended(run)["status"]
    assert not (toy.directory(run) / "stop").exists()
