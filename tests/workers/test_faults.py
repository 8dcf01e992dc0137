"""Errors of Tuneyard's own: no training suffers, every run comes to a true end, and each says what a person should know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.house import House, Part, eventually
from tests.toys.broken_worker import SECRET

Break = Callable[[str], Path]

READS = "workers.runs:read_report"
LOOKS = "workers.runs:scan"
LINES = 600_000
"""Some 4 MB: more than is stored at once."""
MAKES_READY = "workers.runs:config_path"
UNTIL_GO = 'echo 1; until [ -e "$TUNEYARD_OUTPUT_DIR/../go" ]; do sleep 0.02; done; echo 2\n'


@pytest.fixture
def break_(house: House) -> Break:
    """Give the house a worker with this defect; as long as the file that is returned exists, it shows."""

    def begin(defect: str) -> Path:
        house.worker.stop()
        shows = house.folder / "defect"
        shows.touch()
        environment = house.environment | {
            "DEFECT": defect,
            "DEFECT_WHILE": str(shows),
            "TUNEYARD_GPUS": "1",
            "TUNEYARD_RETRY_SECONDS": "1",
        }
        house.worker = Part("tests.toys.broken_worker", environment, house.worker.log)
        house.worker.start()
        eventually(lambda: [host for host in house.ok("GET", "/v1/hosts") if host["status"] == "live" and host["gpus"]])
        return shows

    return begin


def test_a_start_that_cannot_be_made_ready_fails_the_run_as_the_platforms_fault(house: House, break_: Break) -> None:
    break_(MAKES_READY)
    project = house.project()

    ended = house.ended(project, house.launch(project))

    assert ("failed", "platform", 1) == (ended["status"], ended["failure"]["class"], ended["attempt"])
    assert "平台故障 Tuneyard itself is broken (RuntimeError in broken_worker.py, line " in ended["failure"]["reason"]
    assert SECRET not in str(ended)
    assert SECRET in house.worker.log.read_text()


@pytest.mark.parametrize("defect", [READS, LOOKS])
def test_a_training_ends_by_itself_and_truly_however_broken_its_worker_is(house: House, break_: Break, defect: str) -> None:
    break_(defect)
    project = house.project(script=UNTIL_GO)
    run = house.launch(project, resources={"gpu_count": 1})
    eventually(lambda: _conditions(house, project, run))

    _go(house, project, run)

    ended = house.ended(project, run)
    assert ("succeeded", ["incomplete"]) == (ended["status"], _conditions(house, project, run))
    assert f"it lies in {house.training / 'runs' / ended['id']}" in ended["conditions"][0]["reason"]
    assert [None] == [gpu["holder"] for host in house.ok("GET", "/v1/hosts") for gpu in host["gpus"]]


def test_what_is_broken_beside_the_log_costs_no_line_of_it(house: House, break_: Break) -> None:
    break_(LOOKS)
    project = house.project(script=f"{UNTIL_GO}seq {LINES}\n")
    run = house.launch(project)
    eventually(lambda: _conditions(house, project, run) == ["platform_fault"])

    _go(house, project, run)

    assert "succeeded" == house.ended(project, run)["status"]
    last = house.ok("GET", f"/projects/{project}/runs/{run}/logs?page={LINES // 500 + 1}&page_size=500")["items"]
    assert str(LINES) in [line["message"] for line in last]


def test_a_job_whose_report_cannot_be_read_is_no_success(house: House, break_: Break) -> None:
    break_("workers.jobs:_report")
    house.project("p")
    job = house.ok("POST", "/v1/datasets/p-data/deidentify", json={})["id"]

    ended = eventually(lambda: next((found for found in [house.ok("GET", f"/v1/jobs/{job}")] if found["finished_at"]), None))

    assert ("failed", "platform", None) == (ended["status"], ended["failure"]["class"], ended["version"])


def test_a_host_that_refuses_for_a_while_is_no_fault_of_ours(house: House, break_: Break) -> None:
    shows = break_("workers.runs:_check_unchanged")
    shows.write_text("the disk")
    project = house.project()
    run = house.launch(project)

    first, *_ = eventually(lambda: house.run(project, run)["attempts"])
    shows.unlink()

    assert "infrastructure" == first["failure"]["class"]
    assert "the host did not let it be made ready: Input/output error" in first["failure"]["reason"]
    assert "succeeded" == house.ended(project, run)["status"]


def test_a_fault_that_passes_costs_no_line(house: House, break_: Break) -> None:
    shows = break_(READS)
    project = house.project(script=UNTIL_GO)
    run = house.launch(project)
    eventually(lambda: _conditions(house, project, run))

    shows.unlink()

    eventually(lambda: not _conditions(house, project, run))
    _go(house, project, run)
    assert "succeeded" == house.ended(project, run)["status"]
    assert ["1", "2"] == [line for line in house.lines(project, run) if line.isdigit()]


def test_a_run_can_be_cancelled_however_broken_its_worker_is(house: House, break_: Break) -> None:
    break_(READS)
    project = house.project(script=UNTIL_GO)
    run = house.launch(project)
    eventually(lambda: _conditions(house, project, run))

    house.ok("POST", f"/projects/{project}/runs/{run}/cancel")

    assert "cancelled" == house.ended(project, run)["status"]


def _conditions(house: House, project: str, run: str) -> list[Any]:
    return [each["name"] for each in house.run(project, run)["conditions"]]


def _go(house: House, project: str, run: str) -> None:
    (house.training / "runs" / house.run(project, run)["id"] / "go").touch()
