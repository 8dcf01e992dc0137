"""The answer is lost, the line is bad, the API or its database connection dies: a request that is sent again with its key is done once."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from domain.events.actions import events_after
from domain.events.event import Place
from tests.contracts.databases import opened
from tests.crash.counted import Counted, dawdle
from tests.house import House, eventually
from tests.proxy import Proxy, proxied
from tuneyard.client import Client

KEY = {"Idempotency-Key": "4be3b4c1-1f0c-4a8e-9b7e-7a4c6f8f2a11"}
INSERTED = b"INSERT INTO runs"
"""By which the transaction of a launch is told from those that a server makes on its own."""


@pytest.fixture
def front(tmp_path: Path, database_url: str) -> Iterator[House]:
    """An API without a worker and a project `项目`, once for each kind of database."""
    with an_api(tmp_path, database_url) as house:
        yield house


@contextmanager
def an_api(tmp_path: Path, database_url: str) -> Iterator[House]:
    house = House(tmp_path / "front", database_url)
    try:
        house.api.start()
        eventually(house.ready)
        house.project()
        yield house
    finally:
        house.close()


def launch(house: House, **asked: Any) -> httpx.Response:
    return house.client.post("/projects/项目/runs", headers=KEY, json=asked)


def names(house: House) -> list[str]:
    return [run["name"] for run in house.ok("GET", "/projects/项目/runs")]


async def recorded(database_url: str) -> list[str]:
    async with opened(database_url) as db:
        return [event.kind for event in await db.read(events_after, Place(), limit=500)]


def test_a_launch_whose_answer_was_lost_is_repeated_and_is_one_run(front: House) -> None:
    with proxied(front.url) as (line, url), Client(url) as tuneyard:
        line.drop_reply(to=b"POST")

        run = tuneyard.launch("项目", labels={"分支": "main"})

        assert 1 == line.dropped
    assert [run["name"]] == names(front)
    assert run["id"] == front.run("项目", run["name"])["id"]


def test_the_same_launch_sent_by_hand_gets_the_lost_answer(front: House) -> None:
    with proxied(front.url) as (line, url), httpx.Client(base_url=url, trust_env=False) as client:
        line.drop_reply(to=b"POST")
        with pytest.raises(httpx.TransportError):
            client.post("/projects/项目/runs", headers=KEY)

        again = client.post("/projects/项目/runs", headers=KEY)

    assert (201, "true") == (again.status_code, again.headers["Idempotency-Replayed"])
    assert [again.json()["name"]] == names(front)


def test_over_a_bad_line_a_launch_may_arrive_twice_and_is_one_run(front: House) -> None:
    faults: dict[str, Callable[[Proxy], None]] = {"cut": Proxy.reset, "silent": Proxy.blackhole, "slow": lambda line: line.delay(0.6)}

    for fall_ill in faults.values():
        _launch_over_a_line_that_recovers_when_it_is_tried_again(front, fall_ill)

    assert ["run-003", "run-002", "run-001"] == names(front)


def test_a_cancel_whose_answer_was_lost_is_repeated_and_answers_the_run_as_it_ended(house: House, sqlite_url: str) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    with proxied(house.url) as (line, url), Client(url) as tuneyard:
        line.drop_reply(to=b"/cancel")

        cancelled = tuneyard.cancel(toy.name, run)

        assert 1 == line.dropped
    assert "cancelled" == cancelled["status"]
    assert 1 == asyncio.run(recorded(sqlite_url)).count("run.cancelling")


def test_an_api_killed_after_the_commit_answers_the_retry_with_the_same_run(tmp_path: Path, postgresql_url: str) -> None:
    with proxied(postgresql_url) as (line, url), an_api(tmp_path, url) as front, ThreadPoolExecutor(1) as person:
        line.drop_reply(to=b"COMMIT", after=INSERTED, hang_up=False)
        unanswered = person.submit(launch, front)
        eventually(lambda: line.dropped)

        front.api.kill()
        assert isinstance(unanswered.exception(), httpx.TransportError)
        front.api.start()
        eventually(front.ready)
        again = launch(front)

        assert (201, "true") == (again.status_code, again.headers.get("Idempotency-Replayed"))
        assert [again.json()["name"]] == names(front)


def test_a_commit_that_the_api_could_not_hear_of_is_one_run(tmp_path: Path, postgresql_url: str) -> None:
    with proxied(postgresql_url) as (line, url), an_api(tmp_path, url) as front, Client(front.url) as tuneyard:
        line.drop_reply(to=b"COMMIT", after=INSERTED)

        run = tuneyard.launch("项目")

        assert 1 == line.dropped
        assert [run["name"]] == names(front)


def test_an_api_killed_at_any_moment_of_a_launch_leaves_one_run(front: House) -> None:
    chance = Random(7)
    expected: list[str] = []
    for number in range(3):
        with ThreadPoolExecutor(1) as person:
            first = person.submit(_launch_or_be_cut, front, f"r{number}")
            dawdle(chance.uniform(0, 0.1))
            front.api.kill()
            heard = first.result()
        front.api.start()
        eventually(front.ready)

        again = front.client.post("/projects/项目/runs", headers={"Idempotency-Key": f"k{number}"}, json={"name": f"r{number}"})

        assert 201 == again.status_code, again.text
        assert heard in (None, again.content)
        expected.insert(0, f"r{number}")
        assert expected == names(front)


def _launch_over_a_line_that_recovers_when_it_is_tried_again(house: House, fall_ill: Callable[[Proxy], None]) -> None:
    with proxied(house.url) as (line, url), Client(url, timeout=1.0) as tuneyard, ThreadPoolExecutor(1) as person:
        fall_ill(line)
        launching = person.submit(tuneyard.launch, "项目")
        eventually(lambda: line.accepted >= 2)
        line.pass_on()
        launching.result()


def _launch_or_be_cut(house: House, name: str) -> bytes | None:
    with suppress(httpx.TransportError), httpx.Client(base_url=house.url, trust_env=False) as client:
        return client.post("/projects/项目/runs", headers={"Idempotency-Key": name.replace("r", "k")}, json={"name": name}).content
    return None
