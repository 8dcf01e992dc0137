"""Whatever lies in the way of a run, by a trainer's hand or a user's, it comes to a true end, and its log is whole."""

import shlex
from collections.abc import Callable
from typing import Any

from tests.house import House, eventually
from tests.things import SAMPLES

MakeHouse = Callable[..., House]


def test_data_that_is_moved_before_the_start_fails_the_run_with_a_sentence(make_house: MakeHouse, sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_GPUS="1")
    file = house.training / "data" / "a.jsonl"
    file.parent.mkdir()
    file.write_bytes(SAMPLES["sft"])
    house.project("other")
    house.ok("POST", "/projects", json={"name": "q", "dataset_name": "data/a.jsonl", "task_type": "sft"})
    house.worker.stop()
    run = house.launch("q")
    file.rename(house.folder / "a.jsonl")
    file.symlink_to(house.folder / "a.jsonl")

    house.worker.start()

    ended = house.ended("q", run)
    assert ("failed", "bad_input") == (ended["status"], ended["failure"]["class"])
    assert "symbolic link" in ended["failure"]["reason"]
    assert "succeeded" == house.ended("other", house.launch("other"))["status"]


def test_a_metrics_file_that_is_no_plain_file_is_not_read_and_stops_nothing(house: House) -> None:
    project = house.project(script='echo 1; ln -s elsewhere "$TUNEYARD_OUTPUT_DIR/trainer_log.jsonl"; echo 2; sleep 0.5; echo 3\n')
    run = house.launch(project)

    assert "succeeded" == house.ended(project, run)["status"]
    assert ["1", "2", "3"] == [line for line in house.lines(project, run) if line.isdigit()]


def test_a_bar_that_counts_beyond_every_number_is_no_bar(house: House) -> None:
    # What printf makes a redrawn bar of, with a count of twenty digits.
    bars = r"start\n\r  1%%|#   | 1/90 [00:00<00:08,  9.63it/s]\r{'loss': 0.5, 'epoch': 0.1}\n"
    bars += rf"\r 100%%|##| {'9' * 20}/90 [00:00<00:08,  9.63it/s]\n"
    project = house.project(script=f"printf {shlex.quote(bars)}; echo end\n", max_steps=90)
    run = house.launch(project)

    assert "succeeded" == house.ended(project, run)["status"]
    assert {"start", "end"} <= set(house.lines(project, run))


AGAIN = r"""
file="$TUNEYARD_OUTPUT_DIR/trainer_log.jsonl"
if mkdir "$TUNEYARD_OUTPUT_DIR/../once"; then
    for step in 1 2 3 4 5; do echo "{\"current_steps\": $step, \"total_steps\": 90, \"loss\": 9.$step}" >> "$file"; done
    until [ -e "$TUNEYARD_OUTPUT_DIR/../seen" ]; do sleep 0.05; done
    kill -9 $PPID $$
fi
rm "$file"
for step in 1 2; do echo "{\"current_steps\": $step, \"total_steps\": 90, \"loss\": 1.$step}" >> "$file"; done
"""


def test_a_metrics_file_that_a_second_attempt_begins_anew_is_read_from_its_beginning(make_house: MakeHouse, sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_RETRY_SECONDS="0.1")
    project = house.project(script=AGAIN)
    run = house.launch(project)
    eventually(lambda: _losses(house, project, run) == [9.1, 9.2, 9.3, 9.4, 9.5])
    (house.training / "runs" / house.run(project, run)["id"] / "seen").touch()

    ended = house.ended(project, run)

    assert ("succeeded", 2) == (ended["status"], ended["attempt"])
    assert [9.1, 9.2, 9.3, 9.4, 9.5, 1.1, 1.2] == _losses(house, project, run)


def _losses(house: House, project: str, run: str) -> list[Any]:
    history = house.ok("GET", f"/projects/{project}/runs/{run}/metrics?name=train/loss")["items"]
    return [each["value"] for each in history]
