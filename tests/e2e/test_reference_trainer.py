"""The reference trainer trains in the documents' four ways, through the API, with real torch on this CPU and models of a toy's size.

The YAMLs and the data are the documents' own, as they are printed there.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.steps import LORA, PRETRAIN, RL, SFT, five_steps, left, register
from tests.house import REPOSITORY, House, eventually

PYTHON = REPOSITORY / ".venv-trainer" / "bin" / "python"
INSTALLED = any(REPOSITORY.glob(".venv-trainer/.trainer-*"))
LIMIT = 240.0
"""Seconds for a training of seconds: importing torch on a busy machine alone may take half a minute."""

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.timeout(2 * LIMIT),
    pytest.mark.skipif(not INSTALLED, reason="the reference trainer's packages are not installed: make setup-trainer"),
]

QUIET = {
    # One thread, so that a resumed run repeats an unbroken one bit for bit, and two trainings do not wait for each other's threads.
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}

PROJECT = "问答"
TRAINING = {"max_steps": 12, "learning_rate": 0.01, "num_train_epochs": 30, "save_steps": 4, "lr_scheduler_type": "constant"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[House]:
    """One house whose trainings are the reference trainer's, with models below its training directory."""
    folder = tmp_path_factory.mktemp("reference")
    settings = QUIET | {"PYTHON": str(PYTHON), "TUNEYARD_WORKING_DIR": str(REPOSITORY / "examples" / "trainer")}
    house = House(folder / "house", f"sqlite:///{folder}/training.db", redis_url, **settings)
    maker = Path(__file__).parents[1] / "toys" / "tiny_models.py"
    subprocess.run([PYTHON, maker, house.training], env=house.environment, check=True, capture_output=True, timeout=LIMIT)
    try:
        yield house.start()
    finally:
        house.close()


@pytest.fixture(scope="module")
def project(house: House) -> str:
    """A project for SFT on the sample conversations; its name."""
    data = (REPOSITORY / "examples" / "data" / "sample.jsonl").read_bytes()
    house.ok("POST", "/v1/datasets", json={"name": "问答", "task_type": "sft"})
    house.ok("PUT", "/v1/datasets/问答/files", files={"file": ("sample.jsonl", data)})
    body = {"name": PROJECT, "dataset_name": "datasets/sample.jsonl", "base_model": "qwen-7b", "default_hyperparameters": TRAINING}
    house.ok("POST", "/projects", json=body)
    return PROJECT


@pytest.fixture(scope="module")
def unbroken(house: House, project: str) -> dict[str, Any]:
    """A run that trained to its end."""
    return house.ended(project, house.launch(project), within=LIMIT)


def test_sft_by_the_documents_five_steps(house: House) -> None:
    run = five_steps(house, "sft", SFT, within=LIMIT)

    assert {"train/loss", "eval/loss", "learning_rate", "tokens/s", "grad_clip/norm"} <= run["metrics"].keys()
    assert {("checkpoint", "checkpoint-3"), ("model", "model_final"), ("tokenizer", "model_final")} <= left(run)
    assert {"evaluation", "event"} <= {kind for kind, _ in left(run)}


def test_rl_by_the_documents_five_steps(house: House) -> None:
    run = five_steps(house, "rl", RL, max_completion_length=16, within=LIMIT)

    assert {"reward/mean", "kl_divergence", "episode_length", "train/loss"} <= run["metrics"].keys()
    assert {("checkpoint", "checkpoint-4"), ("model", "model_final"), ("tokenizer", "model_final")} <= left(run)
    assert any("GRPO with PPO's settings" in line for line in house.lines("rl", "run-001"))


def test_lora_by_the_documents_five_steps(house: House) -> None:
    run = five_steps(house, "lora", LORA, use_8bit=False, within=LIMIT)

    assert {"train/loss", "lora/norm_b"} <= run["metrics"].keys()
    assert {("checkpoint", "checkpoint-1"), ("adapter", "adapter_final")} <= left(run)


def test_quantising_without_a_gpu_is_refused_with_what_to_set(house: House) -> None:
    register(house, "lora8", LORA)

    run = house.ended("lora8", house.launch("lora8"), within=LIMIT)

    assert ("failed", 2) == (run["status"], run["exit_code"])
    assert any("set use_8bit: false" in line for line in house.lines("lora8", run["name"]))


def test_pretraining_by_the_documents_five_steps(house: House) -> None:
    run = five_steps(house, "pretrain", PRETRAIN, eval_split=0, within=LIMIT)

    assert {"train/loss", "tokens/s", "grad_clip/norm", "learning_rate"} <= run["metrics"].keys()
    assert {("checkpoint", "step-1"), ("model", "model_final"), ("tokenizer", "model_final")} <= left(run)


@pytest.mark.parametrize("algorithm", ["dpo", "grpo", "rloo"])
def test_every_algorithm_says_its_rewards(house: House, algorithm: str) -> None:
    name = f"rl-{algorithm}"
    run = five_steps(house, name, RL.replace("ppo", algorithm), within=LIMIT, max_completion_length=8, max_steps=2)

    assert {"reward/mean", "train/loss"} <= run["metrics"].keys()
    assert ("model", "model_final") in left(run)


def test_losses_fall_and_every_number_is_told_once(house: House, unbroken: dict[str, Any]) -> None:
    losses = _series(house, unbroken["name"], "train/loss")

    assert "succeeded" == unbroken["status"]
    assert list(range(1, 13)) == sorted(losses)
    assert losses[12] < losses[1] - 0.5
    assert any(len(repr(loss)) > 8 for loss in losses.values()), "in full precision"
    told = [line for line in house.lines(PROJECT, unbroken["name"]) if "train/loss" in line]
    assert 13 == len(told), "twelve steps and the mean of them all"


def test_what_it_leaves_can_be_read_by_others(house: House, unbroken: dict[str, Any]) -> None:
    output = house.training / "runs" / unbroken["id"] / "output"
    files = [path for path in output.rglob("*") if path.is_file()]

    assert any(path.name == "model.safetensors" for path in files)
    assert [] == [path for path in files if not path.stat().st_mode & 0o004]


def test_a_cancelled_run_leaves_a_complete_checkpoint_and_goes_on_with_the_step_and_the_loss(
    house: House, project: str, unbroken: dict[str, Any]
) -> None:
    # A delay between steps is nothing that this trainer offers, so the run is longer instead; its first steps are the same.
    broken = house.launch(project, hyperparameters={"max_steps": 5000, "save_steps": 5000})
    eventually(lambda: len(_series(house, broken, "train/loss")) > 3, within=LIMIT)

    cancelled = house.ok("POST", f"/projects/{project}/runs/{broken}/cancel", headers={"Prefer": "wait=60"}, timeout=90)

    checkpoint = cancelled["checkpoint"]
    assert ("cancelled", 143) == (cancelled["status"], house.run(project, broken)["exit_code"])
    assert checkpoint["complete"], checkpoint
    assert max(_series(house, broken, "train/loss")) == checkpoint["step"]

    to = checkpoint["step"] + 3
    resumed = _resumed(house, project, broken, checkpoint["id"], max_steps=to, save_steps=2)
    assert "succeeded" == resumed["status"]
    assert list(range(checkpoint["step"] + 1, to + 1)) == sorted(_series(house, resumed["name"], "train/loss"))
    shared = range(1, min(12, checkpoint["step"]) + 1)
    first, again = (_series(house, name, "train/loss") for name in (unbroken["name"], broken))
    assert [first[step] for step in shared] == [again[step] for step in shared]


def test_a_stop_cuts_an_evaluation_short_but_never_a_step(house: House, tmp_path: Path) -> None:
    """The platform's stop file alone, without a signal; an evaluation of 56 conversations one by one takes longer than a step."""
    config: dict[str, object] = {
        "task_type": "sft",
        "model_name": "qwen-7b",
        "dataset": str(REPOSITORY / "examples" / "data" / "sample.jsonl"),
    }
    config |= {"output_dir": str(tmp_path / "output"), "num_train_epochs": 999, "save_steps": 9999, "eval_steps": 1, "eval_split": 0.9}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"per_device_eval_batch_size": 1}))
    command: list[str | Path] = ["bash", REPOSITORY / "examples" / "trainer" / "run_train_full_sft.sh", tmp_path / "config.yaml"]
    environment = house.environment | {"TUNEYARD_RUN_DIRECTORY": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as training:
        assert training.stdout is not None
        said = [next(line for line in training.stdout if '"train/loss"' in line)]
        (tmp_path / "stop").touch()
        said += training.stdout

    steps = [json.loads(line)["step"] for line in said if '"train/loss"' in line]
    evaluated = [json.loads(line)["step"] for line in said if '"eval/loss"' in line]
    assert 143 == training.returncode
    assert len(evaluated) < len(steps)
    assert [f"checkpoint-{steps[-1]}"] == [path.name for path in (tmp_path / "output").glob("checkpoint-*")]
    assert not (tmp_path / "output" / f"checkpoint-{steps[-1]}" / "checkpoint-is-incomplete.txt").exists()


def test_a_resumed_run_repeats_the_unbroken_one_bit_for_bit(house: House, project: str, unbroken: dict[str, Any]) -> None:
    resumed = _resumed(house, project, unbroken["name"], _checkpoint(unbroken, step=4))

    losses = _series(house, resumed["name"], "train/loss")
    assert list(range(5, 13)) == sorted(losses)
    assert {step: loss for step, loss in _series(house, unbroken["name"], "train/loss").items() if step > 4} == losses


def test_a_resumed_run_honours_a_new_learning_rate_and_new_save_steps(house: House, project: str, unbroken: dict[str, Any]) -> None:
    resumed = _resumed(house, project, unbroken["name"], _checkpoint(unbroken, step=4), learning_rate=0.002, save_steps=3)

    assert {0.002} == set(_series(house, resumed["name"], "learning_rate").values())
    assert [6, 9, 12] == sorted(each["step"] for each in resumed["artifacts"] if each["type"] == "checkpoint")
    old, new = (_series(house, name, "train/loss") for name in (unbroken["name"], resumed["name"]))
    assert old[5] == new[5], "the first step starts from the same weights"
    assert old[12] != new[12]


def _checkpoint(run: dict[str, Any], *, step: int) -> str:
    (found,) = (each["id"] for each in run["artifacts"] if each["type"] == "checkpoint" and each["step"] == step)
    checkpoint: str = found
    return checkpoint


def _resumed(house: House, project: str, run: str, checkpoint: str, **hyperparameters: object) -> dict[str, Any]:
    path = f"/projects/{project}/runs/{run}/resume?source_artifact_id={checkpoint}"
    resumed = house.ok("POST", path, json={"hyperparameters": hyperparameters})
    assert checkpoint == resumed["resumed_from"]
    return house.ended(project, resumed["name"], within=LIMIT)


def _series(house: House, run: str, name: str) -> dict[int, float]:
    items: list[dict[str, Any]] = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics?name={name}")["items"]
    return {item["step"]: item["value"] for item in items}
