"""Whatever a training prints, and however fast: memory stays bounded, raw bytes are kept, and a cancel still works."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.counted import TOY
from tests.house import House
from tests.toys import flood
from tests.toys.count import MESS, line

MEGABYTES = 200
PIECE = 256 * 1024
"""Bytes at which a line is cut."""
MORE = 96 * 1024
"""KiB by which a worker may grow over it."""
FLOOD = 3 * flood.RATE
"""Lines after which a flood is stopped."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share."""
    folder = tmp_path_factory.mktemp("house")
    house = House(folder, f"sqlite:///{folder}/training.db", TUNEYARD_SWEEP_SECONDS="0.3").start()
    yield house
    house.close()


def test_a_line_of_two_hundred_megabytes_is_cut_and_kept_in_bounded_memory(house: House) -> None:
    project = house.project("long", script=f"head -c {MEGABYTES * 10**6} /dev/zero | tr '\\0' x; echo; echo after\n")
    before = _most_memory(house)

    run = house.launch(project)

    assert "succeeded" == house.ended(project, run, within=40)["status"]
    assert _most_memory(house) - before < MORE
    pieces = -(-MEGABYTES * 10**6 // PIECE)
    page = house.ok("GET", f"/projects/{project}/runs/{run}/logs?page=1&page_size=3")
    assert pieces + 3 == page["total"]  # ours, the pieces, the line after, ours
    assert ["x" * PIECE] * 2 == [item["message"] for item in page["items"][1:]]
    last = house.ok("GET", f"/projects/{project}/runs/{run}/logs?page={pieces + 1}&page_size=1")["items"][0]["message"]
    assert MEGABYTES * 10**6 % PIECE == len(last)


def test_nul_ansi_bad_utf8_lone_returns_and_an_unfinished_line_are_kept_and_shown(house: House) -> None:
    project = house.project("mess", script=f"exec \"$PYTHON\" -S '{TOY}' --lines 3 --returns --mess\n")

    run = house.launch(project)

    assert "succeeded" == house.ended(project, run)["status"]
    shown = [text for number in range(3) for text in (f"step {number}: 100%", line(number).decode().rstrip())]
    said = house.lines(project, run)[1:-1]
    assert MESS.decode("utf-8", "replace") == said[-1]
    assert [text for text in shown if text.startswith("L ")] == [text for text in said if text.startswith("L ")]


def test_a_flood_is_kept_whole_and_can_be_cancelled_in_the_middle(house: House) -> None:
    project = house.project("flood", script=f"exec \"$PYTHON\" -S '{flood.__file__}'\n")
    run = house.launch(project)
    slowest = 0.0
    while _total(house, project, run) < FLOOD:
        began = time.monotonic()
        house.run(project, run)
        slowest = max(slowest, time.monotonic() - began)

    house.ok("POST", f"/projects/{project}/runs/{run}/cancel", headers={"Prefer": "wait=0"})

    directory = house.training / "runs" / house.run(project, run)["id"] / "attempt-1"
    ended = house.ended(project, run, within=40)
    assert "cancelled" == ended["status"]
    assert slowest < 2
    said = (directory / "out.log").read_bytes().splitlines()
    assert len(said) + 2 == _total(house, project, run)
    for number in (0, len(said) // 2, len(said) - 1):
        page = house.ok("GET", f"/projects/{project}/runs/{run}/logs?page={number + 2}&page_size=1")
        assert [said[number].decode()] == [item["message"] for item in page["items"]]


def _total(house: House, project: str, run: str) -> int:
    return int(house.ok("GET", f"/projects/{project}/runs/{run}/logs?page_size=1")["total"])


def _most_memory(house: House) -> int:
    """Most memory that the worker ever had, in KiB."""
    assert house.worker.process is not None
    status = Path(f"/proc/{house.worker.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
