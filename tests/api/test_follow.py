"""A run followed live, by its lines and by the record of what happened; nothing is lost or told twice, wherever a follower went on."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house import House, eventually

PROJECT = "项目"
COUNT = r"""
value() { sed -n "s/^$1: //p" "$config"; }
config=$1
for ((i = 1; i <= $(value lines); i++)); do echo "第 $i 行"; echo "{\"step\": $i, \"loss\": $i.5}"; done
while [ ! -e "$(value until)" ]; do sleep 0.02; done
for ((i = 1; i <= $(value lines); i++)); do echo "late $i"; done
"""
"""A toy that prints, waits for a file, and prints again."""
LINES = 100

Told = tuple[str, str | None, dict[str, Any]]
"""An event as it is told: its kind, its id, what it says."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[House]:
    """One house for all that only follow."""
    folder = tmp_path_factory.mktemp("follow")
    house = House(folder / "house", f"sqlite:///{folder}/training.db", redis_url)
    try:
        house.start().project(PROJECT, script=COUNT)
        yield house
    finally:
        house.close()


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The file that the toy waits for."""
    return tmp_path / "go"


def launch(house: House, go: Path) -> str:
    return house.launch(PROJECT, hyperparameters={"lines": LINES, "until": str(go)})


@contextmanager
def following(house: House, address: str, after: str | None = None) -> Iterator[Iterator[Told]]:
    headers = {"Last-Event-ID": after} if after is not None else {}
    with house.client.stream("GET", address, headers=headers) as answer:
        assert (200, "text/event-stream") == (answer.status_code, answer.headers["Content-Type"].partition(";")[0])
        yield told(answer)


def told(answer: httpx.Response) -> Iterator[Told]:
    event: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "event" in event:
            yield event["event"], event.get("id"), json.loads(event["data"])
            event = {}


def test_a_log_is_followed_to_its_end_without_a_gap(house: House, go: Path) -> None:
    run = launch(house, go)

    with following(house, f"/projects/{PROJECT}/runs/{run}/logs/stream") as events:
        early = list(islice(events, 1 + 2 * LINES))
        go.touch()
        late = list(events)

    *lines, (kind, _, end) = early + late
    assert ["line"] * len(lines) == [event for event, _, _ in lines]
    assert [str(number) for number in range(len(lines))] == [number for _, number, _ in lines]
    assert [data["number"] for _, _, data in lines] == list(range(len(lines)))
    assert house.lines(PROJECT, run) == [data["message"] for _, _, data in lines]
    assert [f"late {number}" for number in range(1, LINES + 1)] == [data["message"] for _, _, data in lines[1 + 2 * LINES : -1]]
    assert ("end", {"status": "succeeded", "status_label": "已完成", "exit_code": 0}) == (kind, end)


def test_a_follower_who_was_cut_off_goes_on_where_they_were(house: House, go: Path) -> None:
    run = launch(house, go)
    address = f"/projects/{PROJECT}/runs/{run}/logs/stream"

    seen: list[Told] = []
    while not any(event == "end" for event, _, _ in seen):
        with following(house, address, after=seen[-1][1] if seen else None) as events:
            seen += islice(events, 70)
        if len(seen) > LINES:
            go.touch()

    *lines, _ = seen
    assert [str(number) for number in range(len(lines))] == [number for _, number, _ in lines]
    assert house.lines(PROJECT, run) == [data["message"] for _, _, data in lines]


def test_a_log_that_is_over_is_told_from_any_line(house: House, go: Path) -> None:
    go.touch()
    run = launch(house, go)
    house.ended(PROJECT, run)
    count = len(house.lines(PROJECT, run))

    for after, expected in ((None, count), ("0", count - 1), (str(count - 2), 1), (str(count - 1), 0), ("999999", 0)):
        with following(house, f"/projects/{PROJECT}/runs/{run}/logs/stream", after=after) as events:
            assert ["line"] * expected + ["end"] == [event for event, _, _ in events]


def test_what_happens_is_told_in_order_with_who_did_it(house: House, go: Path) -> None:
    go.touch()
    project = house.ok("GET", f"/projects/{PROJECT}")["id"]

    with following(house, f"/v1/events/stream?project={project}") as events:
        run = house.run(PROJECT, launch(house, go))
        seen = until(events, "run.succeeded")

    assert ["run.launched", "run.starting", "run.running", "run.succeeded"] == [kind for kind, _, _ in seen]
    assert ["local", "host:testhost", "host:testhost", "host:testhost"] == [data["actor"] for _, _, data in seen]
    assert {run["id"]} == {data["subject"] for _, _, data in seen}
    assert ["127.0.0.1", None, None, None] == [data["origin"] for _, _, data in seen]
    assert {"name": run["name"], "dataset": run["dataset"], "model": None} == seen[0][2]["data"]
    assert {"from": "queued", "to": "starting", "attempt": 1, "host": "testhost"} == seen[1][2]["data"]


def test_the_record_goes_on_behind_any_event(house: House, go: Path) -> None:
    go.touch()
    run = house.run(PROJECT, launch(house, go))
    house.ended(PROJECT, run["name"])
    with following(house, "/v1/events/stream", after="0.0") as events:
        whole = [each for each in until(events, "run.succeeded", run["id"]) if each[2]["subject"] == run["id"]]

    for number, (_, place, _) in enumerate(whole[:-1]):
        with following(house, f"/v1/events/stream?project={run['project_id']}", after=place) as events:
            assert whole[number + 1 :] == until(events, "run.succeeded", run["id"])


def until(events: Iterator[Told], kind: str, subject: str | None = None) -> list[Told]:
    """Every event up to the first of this kind."""
    seen = []
    for each in events:
        seen.append(each)
        if each[0] == kind and subject in (None, each[2]["subject"]):
            break
    return seen


def test_a_log_is_read_by_page_and_by_time(house: House, go: Path) -> None:
    run = launch(house, go)
    address = f"/projects/{PROJECT}/runs/{run}/logs"
    eventually(lambda: house.ok("GET", address)["total"] == 1 + 2 * LINES)
    middle = house.ok("GET", f"{address}?page_size=1")["items"][0]["timestamp"]
    go.touch()
    house.ended(PROJECT, run)
    items = list(house.log_items(PROJECT, run))
    total = len(items)

    assert 3 * LINES + 2 == total
    assert {"page": 2, "page_size": 7, "total": total, "items": items[7:14]} == house.ok("GET", f"{address}?page=2&page_size=7")
    assert {"page": 99, "page_size": 50, "total": total, "items": []} == house.ok("GET", f"{address}?page=99")
    for moment in {middle, items[LINES]["timestamp"], items[-1]["timestamp"]}:
        before = house.ok("GET", f"{address}?page_size=500&end_time={moment}")
        after = house.ok("GET", f"{address}?page_size=500&start_time={moment}")
        assert items == before["items"] + after["items"]
        assert total == before["total"] + after["total"]
        assert all(each["timestamp"] < moment for each in before["items"])


def test_what_a_trainer_measured_is_shown_by_name_and_step(house: House, go: Path) -> None:
    go.touch()
    run = launch(house, go)
    house.ended(PROJECT, run)

    whole = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics")
    tail = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics?name=train/loss&since_step=99")
    other = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics?name=nope")

    assert {"train/loss": LINES + 0.5} == whole["latest"] == house.run(PROJECT, run)["metrics"]
    assert [(step, step + 0.5) for step in range(1, LINES + 1)] == [(each["step"], each["value"]) for each in whole["items"]]
    assert [99, 100] == [each["step"] for each in tail["items"]]
    assert [] == other["items"]


def test_an_open_stream_does_not_hold_up_the_end_of_the_server(tmp_path: Path, sqlite_url: str) -> None:
    house = House(tmp_path / "house", sqlite_url)
    house.api.start()
    try:
        eventually(house.ready)

        with following(house, "/v1/events/stream") as first, following(house, "/v1/events/stream") as second:
            began = time.monotonic()
            house.api.stop()
            took = time.monotonic() - began

            assert ([], []) == (list(first), list(second))
        assert took < 3
    finally:
        house.close()
