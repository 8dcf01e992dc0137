"""Resuming: a new run goes on where a checkpoint stands, with the same numbers as if nothing had happened."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.house import REPOSITORY, House, eventually

PROJECT = "续训"
STEPS = {"max_steps": 40, "save_steps": 10, "logging_steps": 1, "num_train_epochs": 20, "learning_rate": 0.01, "seed": 7}


@pytest.fixture
def trained(make_house: Callable[..., House], sqlite_url: str, redis_url: str) -> House:
    """A house with the real tiny trainer and a project for it."""
    house = make_house(sqlite_url, redis_url, TUNEYARD_WORKING_DIR=str(REPOSITORY / "examples" / "tiny_trainer"))
    data = (REPOSITORY / "examples" / "data" / "sample.jsonl").read_bytes()
    house.ok("POST", "/v1/datasets", json={"name": "问答", "task_type": "sft"})
    house.ok("PUT", "/v1/datasets/问答/files", files={"file": ("sample.jsonl", data)})
    body = {"name": PROJECT, "dataset_name": "datasets/sample.jsonl", "base_model": "tiny", "default_hyperparameters": STEPS}
    house.ok("POST", "/projects", json=body)
    return house


def test_a_cancelled_run_is_resumed_to_the_end_with_the_losses_of_an_unbroken_one(trained: House) -> None:
    unbroken = trained.launch(PROJECT)
    broken = trained.launch(PROJECT, hyperparameters={"step_delay_seconds": 0.05})
    eventually(lambda: any(step > 12 for step in _losses(trained, broken)))
    cancelled = trained.ok("POST", f"/projects/{PROJECT}/runs/{broken}/cancel")
    checkpoint = cancelled["checkpoint"]

    resumed = trained.ok("POST", _resume(broken, checkpoint["id"]), json={"hyperparameters": {"step_delay_seconds": 0}})

    assert checkpoint["id"] == resumed["resumed_from"]
    assert "succeeded" == trained.ended(PROJECT, resumed["name"])["status"]
    trained.ended(PROJECT, unbroken)
    losses = _losses(trained, resumed["name"])
    assert list(range(checkpoint["step"] + 1, 41)) == sorted(losses)
    assert {step: loss for step, loss in _losses(trained, unbroken).items() if step in losses} == losses
    (onward,) = trained.run(PROJECT, broken)["resumed_by"]
    assert (resumed["name"], checkpoint["id"], "succeeded") == tuple(onward[key] for key in ("name", "resumed_from", "status"))


def test_a_resume_asks_for_what_its_source_asked_for_where_it_says_nothing_else(trained: House) -> None:
    asked = {"resources": {"gpu_count": 0}, "priority": 7, "labels": {"team": "a", "stage": "1"}, "hyperparameters": {"max_steps": 10}}
    source = trained.ended(PROJECT, trained.launch(PROJECT, **asked))
    checkpoint = next(each for each in source["artifacts"] if each["type"] == "checkpoint")

    same = trained.ok("POST", _resume(source["name"], checkpoint["id"]))
    other = trained.ok("POST", _resume(source["name"], checkpoint["id"]), json={"priority": 0, "labels": {"stage": "2"}})

    kept = ("resources", "priority", "labels", "hyperparameters")
    assert [source[name] for name in kept] == [same[name] for name in kept]
    assert (0, {"team": "a", "stage": "2"}) == (other["priority"], other["labels"])


def test_only_a_checkpoint_of_the_project_can_be_resumed(trained: House) -> None:
    run = trained.ended(PROJECT, trained.launch(PROJECT, hyperparameters={"max_steps": 2}))
    model = next(each for each in run["artifacts"] if each["type"] == "model")

    not_one = trained.client.post(_resume(run["name"], model["id"]))
    unknown = trained.client.post(_resume(run["name"], "ckpt_nowhere"))
    unsaid = trained.client.post(f"/projects/{PROJECT}/runs/{run['name']}/resume")

    assert (400, "source_artifact_id") == (not_one.status_code, not_one.json()["errors"][0]["field"])
    assert (404, 400) == (unknown.status_code, unsaid.status_code)
    assert "not a checkpoint" in not_one.json()["detail"]


def _resume(run: str, artifact: str) -> str:
    return f"/projects/{PROJECT}/runs/{run}/resume?source_artifact_id={artifact}"


def _losses(house: House, run: str) -> dict[int, float]:
    items: list[dict[str, Any]] = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics?name=train/loss")["items"]
    return {item["step"]: item["value"] for item in items}
