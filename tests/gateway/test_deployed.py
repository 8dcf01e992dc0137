"""The whole way: deployments of a real house, reached through its gateway while they come and go."""

import sys
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.house import REPOSITORY, House, eventually, free_port

HELLO: Any = [{"role": "user", "content": "你好"}]


@pytest.fixture
def house(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> House:
    """Give a house that serves by the toy."""
    first = free_port()
    ports = f"{first}-{min(first + 20, 65535)}"
    serve = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py"
    return make_house(sqlite_url, redis_url, TUNEYARD_SERVE_COMMAND=serve, TUNEYARD_DEPLOYMENT_PORTS=ports, TUNEYARD_HEALTH_SECONDS="0.2")


def deploy(house: House, name: str) -> str:
    """Deploy a model under this name; the deployment's id once it answers."""
    (house.training / "models").mkdir(exist_ok=True)
    made = house.ok("POST", "/deployments", json={"model_path": "models", "served_name": name}, headers={"Prefer": "wait=20"})
    assert "running" == made["status"], made
    identity: str = made["deployment_id"]
    return identity


def test_a_model_is_asked_while_its_deployments_come_and_go_and_nobody_fails(house: House) -> None:
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)
    first = deploy(house, "客服")
    answered, failed, over = [], [], threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            try:
                answer = client.chat.completions.with_raw_response.create(model="客服", messages=HELLO, max_tokens=2)
                answered.append(answer.headers["x-tuneyard-deployment"])
            except openai.OpenAIError as problem:
                failed.append(problem)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        eventually(lambda: answered)
        second = deploy(house, "客服")
        eventually(lambda: second in answered)
        house.ok("DELETE", f"/deployments/{first}")
        count = len(answered)
        eventually(lambda: len(answered) > count + 10)
    finally:
        over.set()
        asking.join()

    assert [] == failed
    assert {first, second} == set(answered)
    assert {second} == set(answered[count + 5 :])


def test_a_model_that_is_deployed_no_more_is_unknown_and_one_that_does_not_answer_yet_is_not(house: House) -> None:
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)
    slow = house.training / "slow"
    slow.mkdir()
    (slow / "toy.args").write_text("--slow-start 60")

    gone = deploy(house, "gone")
    eventually(lambda: ["gone"] == [model.id for model in client.models.list()])
    house.ok("DELETE", f"/deployments/{gone}")
    house.ok("POST", "/deployments", json={"model_path": "slow", "served_name": "slow"})

    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gone", messages=HELLO)
    with pytest.raises(openai.InternalServerError, match="none of its servers answers") as waiting:
        client.chat.completions.create(model="slow", messages=HELLO)
    assert 503 == waiting.value.status_code
