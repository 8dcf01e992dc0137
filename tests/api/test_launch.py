"""Launching over HTTP: what is missing is named at once, and what was asked for is frozen into the run."""

from pathlib import Path
from typing import Any

import httpx

from infra.settings import Settings
from tests.things import SAMPLES

YAML = b"task_type: sft\nmodel_name: qwen-7b\ndataset: datasets/d/a.jsonl\nper_device_train_batch_size: 4\nlearning_rate: 2e-5\n"


async def furnish(api: httpx.AsyncClient, task_type: str | None = "sft", **project: Any) -> str:
    """A dataset `d` with a file, and a project `p` that uses it; the dataset's id."""
    dataset = await api.post("/v1/datasets", json={"name": "d", "task_type": task_type})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", SAMPLES["sft"])})
    created = await api.post("/projects", json={"name": "p", "dataset_name": "datasets/d/a.jsonl"} | project)
    assert 201 == created.status_code, created.text
    ref: str = dataset.json()["id"]
    return ref


async def launched(api: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await api.post("/projects/p/runs", json=asked)
    assert 201 == answer.status_code, answer.text
    run: dict[str, Any] = answer.json()
    return run


async def test_a_run_without_a_body_uses_what_the_project_says(api: httpx.AsyncClient) -> None:
    await furnish(api, base_model="llama-2-13b", default_hyperparameters={"learning_rate": 3e-5, "batch_size": 16})

    answer = await api.post("/projects/p/runs")

    run = answer.json()
    assert 201 == answer.status_code
    assert ("run-001", "queued", "排队中", 0.0, None, []) == tuple(
        run[field] for field in ("name", "status", "status_label", "progress", "started_at", "artifacts")
    )
    assert f"bash run_train_full_sft.sh runs/{run['id']}/config.yaml" == run["start_command"]
    assert {
        "task_type": "sft",
        "model_name": "llama-2-13b",
        "per_device_train_batch_size": 16,
        "learning_rate": 3e-5,
        "dataset": "datasets/d/a.jsonl",
    } == run["config"]
    assert run["project_id"] == (await api.get("/projects/p")).json()["id"]


async def test_all_that_is_missing_is_named_in_one_answer(api: httpx.AsyncClient) -> None:
    await api.post("/projects", json={"name": "p", "dataset_name": "datasets/a.jsonl", "training_yaml_name": "configs/a.yaml"})

    answer = await api.post("/projects/p/runs", json={"hyperparameters": {"output_dir": "/tmp"}})  # noqa: S108 - refused

    assert 400 == answer.status_code
    assert ["dataset", "training_yaml_name", "hyperparameters.output_dir"] == [each["field"] for each in answer.json()["errors"]]
    assert all(word in answer.json()["detail"] for word in ("datasets/a.jsonl", "configs/a.yaml", "output_dir"))
    assert 0 == (await api.get("/projects/p")).json()["run_count"]


async def test_a_project_that_names_nothing_says_so(api: httpx.AsyncClient) -> None:
    await api.post("/projects", json={"name": "p"})

    answer = await api.post("/projects/p/runs")

    assert (400, ["dataset"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]])


async def test_an_unknown_project_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.post("/projects/nope/runs")

    assert (404, "nope") == (answer.status_code, answer.json()["project"])


async def test_without_a_config_the_task_type_must_be_known(api: httpx.AsyncClient) -> None:
    await furnish(api, task_type=None)

    refused = await api.post("/projects/p/runs")
    await api.patch("/projects/p", json={"task_type": "LoRA 微调"})
    taken = await launched(api)

    assert (400, ["training_yaml_name"]) == (refused.status_code, [each["field"] for each in refused.json()["errors"]])
    assert "lora" == taken["config"]["task_type"]


async def test_a_config_about_another_dataset_is_refused(api: httpx.AsyncClient) -> None:
    await furnish(api, training_yaml_name="configs/a.yaml")
    await api.put("/v1/train-config", files={"file": ("a.yaml", YAML.replace(b"d/a.jsonl", b"other.jsonl"))})

    refused = await api.post("/projects/p/runs")
    overridden = await launched(api, dataset="d")

    assert (400, ["dataset"]) == (refused.status_code, [each["field"] for each in refused.json()["errors"]])
    assert "datasets/other.jsonl" in refused.json()["detail"]
    assert "datasets/d/a.jsonl" == overridden["config"]["dataset"]


async def test_a_config_must_name_a_known_task_type(api: httpx.AsyncClient) -> None:
    await furnish(api, training_yaml_name="configs/a.yaml")
    for text in (YAML.replace(b"sft", b"magic"), YAML.replace(b"task_type: sft\n", b"")):
        await api.put("/v1/train-config", files={"file": ("a.yaml", text)})

        answer = await api.post("/projects/p/runs")

        assert (400, ["task_type"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]])


async def test_the_body_goes_before_the_config_and_the_config_before_the_project(api: httpx.AsyncClient) -> None:
    defaults = {"batch_size": 16, "learning_rate": 3e-5, "warmup_ratio": 0.1, "task_type": "lora", "dataset": "x"}
    await furnish(api, training_yaml_name="configs/a.yaml", base_model="llama", default_hyperparameters=defaults)
    await api.put("/v1/train-config", files={"file": ("a.yaml", YAML)})

    run = await launched(api, hyperparameters={"batch_size": 32, "num_epochs": 3, "seed": 7})
    await api.put("/v1/train-config", files={"file": ("a.yaml", YAML.replace(b"2e-5", b"1.0"))})
    await api.patch("/projects/p", json={"default_hyperparameters": {}})

    assert {
        "task_type": "sft",
        "model_name": "qwen-7b",
        "dataset": "datasets/d/a.jsonl",
        "per_device_train_batch_size": 32,
        "learning_rate": 2e-5,
        "warmup_ratio": 0.1,
        "num_train_epochs": 3,
        "seed": 7,
    } == run["config"]
    assert run["config"] == (await api.get(f"/projects/p/runs/{run['id']}")).json()["config"]


WORDS = {
    "sft": ("model_name", "per_device_train_batch_size"),
    "rl": ("policy_model", "rollout_batch_size"),
    "lora": ("base_model", "train_batch_size"),
    "pretrain": ("model_name", "global_batch_size"),
}


async def test_the_usual_words_become_those_of_the_task_type(api: httpx.AsyncClient) -> None:
    await furnish(api, task_type=None)
    hyperparameters = {"batch_size": 32, "num_epochs": 3, "learning_rate": 2e-5}
    for task_type, (model, batch_size) in WORDS.items():
        await api.put("/v1/datasets/d/files", files={"file": (f"{task_type}.jsonl", SAMPLES[task_type])})
        await api.patch("/projects/p", json={"task_type": task_type})

        run = await launched(api, model="qwen", hyperparameters=hyperparameters, dataset=f"datasets/d/{task_type}.jsonl")

        expected = {model: "qwen", batch_size: 32, "num_train_epochs": 3, "learning_rate": 2e-5}
        assert expected | {"task_type": task_type, "dataset": f"datasets/d/{task_type}.jsonl"} == run["config"]
        assert ("qwen", hyperparameters) == (run["model"], run["hyperparameters"])


async def test_keys_that_are_not_the_callers_are_refused(api: httpx.AsyncClient) -> None:
    await furnish(api)
    keys = ["dataset", "output_dir", "resume_from_checkpoint", "task_type"]

    answer = await api.post("/projects/p/runs", json={"hyperparameters": dict.fromkeys(keys, "x")})

    assert (400, [f"hyperparameters.{key}" for key in keys]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]])


async def test_a_dataset_goes_by_its_id_its_name_or_a_path(api: httpx.AsyncClient, settings: Settings) -> None:
    dataset = await furnish(api)
    by_hand = Path(settings.training_path) / "data" / "b.jsonl"
    by_hand.parent.mkdir()
    by_hand.write_bytes(SAMPLES["sft"] * 2)
    await api.patch("/projects/p", json={"task_type": "sft"})

    inputs = {}
    for ref in (dataset, "d", "datasets/d/a.jsonl", "datasets/a.jsonl", "data/b.jsonl"):
        run = await launched(api, dataset=ref)
        inputs[ref] = {path: pinned["size_bytes"] for path, pinned in run["inputs"].items()}
        assert run["dataset"] == run["config"]["dataset"]

    size = len(SAMPLES["sft"])
    assert {
        dataset: {"datasets/d/a.jsonl": size},
        "d": {"datasets/d/a.jsonl": size},
        "datasets/d/a.jsonl": {"datasets/d/a.jsonl": size},
        "datasets/a.jsonl": {"datasets/a.jsonl": size},
        "data/b.jsonl": {"data/b.jsonl": 2 * size},
    } == inputs


async def test_a_path_that_leads_elsewhere_is_refused(api: httpx.AsyncClient, settings: Settings) -> None:
    await furnish(api)
    (Path(settings.training_path) / "link").symlink_to("/etc")

    for path in ("../secret", "/etc/passwd", "datasets/../../secret", "link/passwd", "blobs", "a\\b", "%2e%2e/secret"):
        answer = await api.post("/projects/p/runs", json={"dataset": path})

        assert 400 == answer.status_code, path
        assert "root:" not in answer.text


async def test_runs_are_numbered_within_their_project(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.post("/projects", json={"name": "q", "dataset_name": "datasets/d/a.jsonl"})

    names = [(await launched(api))["name"], (await launched(api, name="run-003"))["name"], (await launched(api))["name"]]
    other = (await api.post("/projects/q/runs")).json()["name"]

    assert (["run-001", "run-003", "run-004"], "run-001") == (names, other)
    assert 3 == (await api.get("/projects/p")).json()["run_count"]
    assert ["run-004", "run-003", "run-001"] == [each["name"] for each in (await api.get("/projects/p")).json()["runs"]]


async def test_a_run_name_in_use_is_a_conflict_that_counts_nothing(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await launched(api, name="基线")

    again = await api.post("/projects/p/runs", json={"name": "基线"})

    assert (409, "基线") == (again.status_code, again.json()["run"])
    assert 1 == (await api.get("/projects/p")).json()["run_count"]


async def test_a_run_name_that_cannot_stand_in_a_url_is_refused(api: httpx.AsyncClient) -> None:
    await furnish(api)

    for name in ("", " ", " a", "a/b", ".", "..", "a\nb", "run_1", "ckpt_1", "x" * 201):
        answer = await api.post("/projects/p/runs", json={"name": name})

        assert (400, ["name"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), ascii(name)


async def test_what_else_was_asked_for_is_kept(api: httpx.AsyncClient) -> None:
    await furnish(api)
    asked = {"resources": {"gpu_type": "A100", "gpu_count": 4}, "priority": 5, "labels": {"分支": "main"}}

    run = await launched(api, **asked)

    assert asked == {field: run[field] for field in asked}
    assert (None, None, None, {}, None) == tuple(run[field] for field in ("host", "failure", "exit_code", "metrics", "cancelled_at"))


async def test_everything_also_answers_under_v1(api: httpx.AsyncClient) -> None:
    await furnish(api)

    run = (await api.post("/v1/projects/p/runs", json={"name": "r"})).json()

    shown = await api.get("/v1/projects/p/runs/r", headers={"Accept-Language": "en"})
    assert (run["id"], "Queued") == (shown.json()["id"], shown.json()["status_label"])
    for tail in ("/logs", "/metrics", "/artifacts"):
        short, long = [await api.get(f"{prefix}/projects/p/runs/r{tail}") for prefix in ("", "/v1")]
        assert (200, short.json()) == (long.status_code, long.json())
