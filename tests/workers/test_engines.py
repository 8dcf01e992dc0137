"""A model server with an engine of its own, as vLLM has: in its group, under another name, of no use once its server is gone."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from tests.house import PATIENCE, REPOSITORY, House, eventually, free_port


@pytest.fixture
def house(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> House:
    """Give a house that serves by the toy with an engine."""
    first = free_port()
    serve = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py --engine --pace 0.1"
    quick = {"TUNEYARD_HEALTH_SECONDS": "0.2", "TUNEYARD_DEPLOYMENT_RETRY_SECONDS": "0.2"}
    ports = f"{first}-{min(first + 20, 65535)}"
    return make_house(sqlite_url, redis_url, TUNEYARD_SERVE_COMMAND=serve, TUNEYARD_DEPLOYMENT_PORTS=ports, **quick)


def deploy(house: House) -> dict[str, Any]:
    (house.training / "models").mkdir(exist_ok=True)
    body = {"model_path": "models", "served_name": "qwen"}
    shown: dict[str, Any] = house.ok("POST", "/deployments", json=body, headers={"Prefer": "wait=20"})
    assert "running" == shown["status"], shown
    return shown


def engine_of(deployment: dict[str, Any]) -> psutil.Process:
    (engine,) = psutil.Process(deployment["pid"]).children()
    return engine


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_what_it_was_asked_before_a_polite_stop_is_answered_to_the_end(house: House) -> None:
    deployment = deploy(house)
    engine = engine_of(deployment)
    body = {"model": "qwen", "max_tokens": 40, "messages": [{"role": "user", "content": "a"}], "stream": True}
    said = list[str]()

    def ask() -> None:
        with httpx.stream("POST", f"{house.url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False) as answer:
            for line in answer.iter_lines():
                said.append(line)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: said)
    house.ok("DELETE", f"/deployments/{deployment['deployment_id']}")
    asking.join()

    assert 40 == sum('"content": "a "' in line for line in said)
    assert "data: [DONE]" in said
    assert not lives(engine)


def test_an_engine_whose_server_was_killed_is_ended_before_the_next_begins(house: House) -> None:
    first = deploy(house)
    engine = engine_of(first)

    os.kill(first["pid"], signal.SIGKILL)

    def again() -> dict[str, Any] | None:
        shown: dict[str, Any] = house.ok("GET", f"/deployments/{first['deployment_id']}")
        return shown if shown["status"] == "running" and shown["pid"] not in (None, first["pid"]) else None

    second = eventually(again)
    assert not lives(engine)
    house.ok("DELETE", f"/deployments/{second['deployment_id']}?force=true")


def test_force_leaves_no_engine(house: House) -> None:
    deployment = deploy(house)
    engine = engine_of(deployment)

    house.ok("DELETE", f"/deployments/{deployment['deployment_id']}?force=true")

    assert not lives(engine)
