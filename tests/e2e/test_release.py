"""From a training to a model that answers, and on to the next one, without a request that fails in between."""

import sys
import threading
from collections.abc import Callable
from typing import Any, Self

import httpx
import pytest

from tests.house import PATIENCE, REPOSITORY, House, eventually, free_port

TRAINER = f'exec bash {REPOSITORY}/examples/tiny_trainer/run_train_full_sft.sh "$1"\n'
MODEL = "客服@release"


class Caller:
    """Somebody who chats through the gateway all the time."""

    def __init__(self, house: House) -> None:
        self.statuses: list[int | str] = []
        self._url = house.url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._chat)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _chat(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE, trust_env=False) as client:
            while not self._stop.wait(0.02):
                try:
                    self.statuses.append(client.post("/v1/chat/completions", json=said()).status_code)
                except httpx.HTTPError as problem:
                    self.statuses.append(repr(problem))


def said() -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "你好 世界"}], "max_tokens": 4}


def release(house: House, tag: str) -> str:
    """Train with the tiny trainer, and tag its model; the id of what was tagged."""
    run = house.ended("客服", house.launch("客服"), within=60)
    assert "succeeded" == run["status"], run["failure"]
    model: str = next(each["id"] for each in run["artifacts"] if each["type"] == "model" and each["complete"])
    house.ok("POST", f"/projects/客服/runs/{run['name']}/artifacts/{model}/tag", json={"tag": tag})
    return model


@pytest.mark.timeout(240)
def test_a_release_is_served_and_the_next_one_rolls_over(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> None:
    first = free_port()
    settings = {
        "TUNEYARD_SERVE_COMMAND": f"{sys.executable} {REPOSITORY}/tests/toys/serve.py",
        "TUNEYARD_DEPLOYMENT_PORTS": f"{first}-{min(first + 9, 65535)}",
        "TUNEYARD_HEALTH_SECONDS": "0.5",
        "TUNEYARD_SWEEP_SECONDS": "0.5",
    }
    house = make_house(sqlite_url, redis_url, **settings)
    house.project("客服", script=TRAINER, max_steps=4, logging_steps=2)
    assert 404 == house.client.post("/deployments", json={"model_path": MODEL}).status_code
    one = release(house, "发布")

    old = house.ok("POST", "/deployments", json={"model_path": "客服@发布"}, headers={"Prefer": "wait=30"})

    assert ("running", one, True, [MODEL]) == (old["status"], old["artifact_id"], old["follow"], old["served_names"][1:])
    assert old["model"].startswith("runs/run_")
    answer = eventually(lambda: (found := house.client.post("/v1/chat/completions", json=said())).is_success and found)
    assert "你好" in answer.json()["choices"][0]["message"]["content"]

    with Caller(house) as caller:
        eventually(lambda: len(caller.statuses) > 5)
        two = release(house, "release")
        new = eventually(
            lambda: [each for each in house.ok("GET", "/deployments?status=running") if each["artifact_id"] == two], within=60
        )[0]
        eventually(lambda: house.ok("GET", f"/deployments/{old['deployment_id']}")["status"] == "stopped", within=60)
        after = len(caller.statuses)
        eventually(lambda: len(caller.statuses) > after + 5)

    assert {200} == set(caller.statuses)
    gone = house.ok("GET", f"/deployments/{old['deployment_id']}")
    assert (old["deployment_id"], new["deployment_id"]) == (new["replaces"], gone["replaced_by"])
    assert [new["deployment_id"]] == [each["deployment_id"] for each in house.ok("GET", "/deployments")]
    assert new["served_names"] == old["served_names"]
    house.ok("DELETE", f"/deployments/{new['deployment_id']}?force=true")
