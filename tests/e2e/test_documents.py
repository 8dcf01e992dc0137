"""The users' documents, tried as they stand: their curl commands in a real shell against a real house, their JSON as it is printed.

Only what cannot be the same is replaced: the port of `localhost:8000`, and the ids of datasets and uploads, which are ours to give.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house import PATIENCE, REPOSITORY, House, eventually, inherited

SERVE = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py"
"""A toy that stands in for vLLM."""
CREATE_PROJECT = """curl -X POST "http://localhost:8000/projects" \\
  -H "Content-Type: application/json" \\
  -d '{
        "name": "demo-project",
        "description": "微调示例",
        "owner": "alice",
        "tags": ["demo"],
        "dataset_name": "datasets/sample.jsonl",
        "training_yaml_name": "configs/train.yaml"
      }'
"""
UPLOAD_FILE = """curl -X PUT "http://localhost:8000/v1/datasets/{dataset_id}/files" \\
  -F "file=@sample.jsonl"
"""
UPLOAD_CONFIG = """curl -X PUT "http://localhost:8000/v1/train-config" \\
  -F "file=@train.yaml"
"""
LAUNCH = """curl -X POST "http://localhost:8000/projects/qwen-finetune/runs"
"""
CREATE_DATASET = """curl -X POST "http://localhost:8000/v1/datasets" \\
  -H "Content-Type: application/json" \\
  -d '{
        "name": "chatglm_pairs_v1",
        "type": "text2text",
        "description": "object-storage",
        "task_type": "sft",
        "metadata": {"language": "zh", "records": 1024}
      }'
"""
SHOW_DATASET = """curl "http://localhost:8000/v1/datasets/93f22d88-9d39-4f71-a3b1-0f41d396a4f7"
"""
UPLOAD_SMALL_FILE = """curl -X PUT "http://localhost:8000/v1/datasets/93f22d88-9d39-4f71-a3b1-0f41d396a4f7/files" \\
  -H "Content-Type: multipart/form-data" \\
  -F "file=@./train.jsonl"
"""
ABORT_UPLOAD = """curl -X DELETE "http://localhost:8000/v1/uploads/e874d5a8-98f1-4fdb-9055-11e53fd0e936"
"""
UPLOAD_YAML = """curl -X PUT "http://localhost:8000/v1/train-config" \\
  -H "Content-Type: multipart/form-data" \\
  -F "file=@./finetune.yaml"
"""
SHOW_CONFIG = """curl "http://localhost:8000/v1/train-config"
"""
DELETE_CONFIG = """curl -X DELETE "http://localhost:8000/v1/train-config"
"""
DEIDENTIFY = """curl -X POST "http://localhost:8000/v1/deidentify:test" \\
  -H "Content-Type: application/json" \\
  -d '{
        "policy_id": "default",
        "text": ["客户手机号 13812345678"],
        "options": {"return_mapping": true, "seed": 42}
      }'
"""
DEPLOY = """curl -X POST "http://localhost:8000/deployments" \\
  -H "Content-Type: application/json" \\
  -d '{
        "model_path": "models/qwen2.5",
        "model_version": "v1",
        "tags": ["demo"],
        "extra_args": "--max-num-seqs 4",
        "preferred_gpu": 0
      }'
"""
DEPLOY_SHORTLY = """curl -X POST "http://localhost:8000/deployments" \\
  -H "Content-Type: application/json" \\
  -d '{
        "model_path": "/models/qwen",
        "tags": ["demo"],
        "preferred_gpu": 0
      }'
"""
SHOW_DEPLOYMENT = """curl "http://localhost:8000/deployments/16b3f6fe-7047-42bd-89f8-8da30d47eeb5"
"""
REMOVE_DEPLOYMENT = """curl -X DELETE "http://localhost:8000/deployments/16b3f6fe-7047-42bd-89f8-8da30d47eeb5?force=true"
"""
LIST_DEPLOYMENTS = """curl "http://localhost:8000/deployments?model=models/qwen2.5&status=running"
"""
HEALTH = """curl "http://localhost:8000/healthz"
"""

DATASET_ID = "93f22d88-9d39-4f71-a3b1-0f41d396a4f7"
UPLOAD_ID = "e874d5a8-98f1-4fdb-9055-11e53fd0e936"
DEPLOYMENT_ID = "16b3f6fe-7047-42bd-89f8-8da30d47eeb5"
"""Ids that the documents print."""

SUMMARY_PROJECT = """{
    "name": "中文摘要系统",
    "description": "对科研文章进行自动摘要",
    "objective": "降低阅读时间",
    "task_type": "文本摘要",
    "base_model": "llama-2-13b",
    "owner": "小李",
    "tags": ["科研", "第一阶段"],
    "default_hyperparameters": {
      "learning_rate": 3e-5,
      "batch_size": 16
    }
  }"""
SUMMARY_RUN = """{
    "name": "run-001",
    "model": "llama-2-13b",
    "dataset": "中文科技论文语料",
    "hyperparameters": {
      "learning_rate": 2e-5,
      "batch_size": 32,
      "num_epochs": 3
    },
    "resources": {
      "gpu_type": "A100",
      "gpu_count": 4
    }
  }"""

SAMPLES = """\
{"conversation_id": "demo-001", "messages": [{"role": "user", "content": "指令"}, {"role": "assistant", "content": "回答"}]}
{"conversation_id": "demo-002", "messages": [{"role": "user", "content": "请总结"}, {"role": "assistant", "content": "总结内容"}]}
"""
YAML = """\
task_type: sft
model_name: qwen-7b
dataset: datasets/sample.jsonl
max_seq_length: 2048
per_device_train_batch_size: 4
learning_rate: 2e-5
num_train_epochs: 3
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[House]:
    """One house for all the documents, as one user would have."""
    folder = tmp_path_factory.mktemp("documents")
    house = House(folder / "house", f"sqlite:///{folder}/training.db", redis_url, TUNEYARD_SERVE_COMMAND=SERVE)
    (house.scripts / "run_train_full_sft.sh").write_text('cat "$1"\n')
    try:
        yield house.start()
    finally:
        house.close()


class Shell:
    """A user's shell, in a folder of their own with the files that the documents upload."""

    def __init__(self, house: House, folder: Path) -> None:
        self._port = house.port
        self._folder = folder
        # Settings that leave the command as it is printed: no progress bar, and the status behind the answer.
        (folder / ".curlrc").write_text('silent\nshow-error\nnoproxy = "*"\nwrite-out = "\\n%{http_code}"\n')
        for name, content in (("sample.jsonl", SAMPLES), ("train.jsonl", SAMPLES), ("train.yaml", YAML), ("finetune.yaml", YAML)):
            (folder / name).write_text(content)

    def run(self, command: str, **ids: str) -> tuple[int, Any]:
        """Run a command of the documents; its status and its answer."""
        command = command.replace("localhost:8000", f"localhost:{self._port}")
        for printed, ours in (
            ("{dataset_id}", ids.get("dataset")),
            (DATASET_ID, ids.get("dataset")),
            (UPLOAD_ID, ids.get("upload")),
            (DEPLOYMENT_ID, ids.get("deployment")),
        ):
            command = command.replace(printed, ours or printed)
        environment = inherited() | {"CURL_HOME": str(self._folder)}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        answer, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(answer)


@pytest.fixture
def shell(house: House, tmp_path: Path) -> Shell:
    """A shell beside the house."""
    return Shell(house, tmp_path)


def test_the_health_probe(shell: Shell) -> None:
    assert (200, {"status": "ok"}) == shell.run(HEALTH)


def test_creating_a_project(shell: Shell) -> None:
    status, project = shell.run(CREATE_PROJECT)

    assert 201 == status
    assert ("demo-project", "微调示例", "alice", ["demo"]) == tuple(project[each] for each in ("name", "description", "owner", "tags"))
    assert ("datasets/sample.jsonl", "configs/train.yaml") == (project["dataset_name"], project["training_yaml_name"])
    assert ("active", []) == (project["status"], project["runs"])
    assert 409 == shell.run(CREATE_PROJECT)[0]


def test_the_life_of_a_dataset(shell: Shell) -> None:
    status, created = shell.run(CREATE_DATASET)
    assert (201, {"id", "created_at"}) == (status, set(created))

    status, upload = shell.run(UPLOAD_SMALL_FILE, dataset=created["id"])
    size = len(SAMPLES.encode())
    assert (200, {"upload_id": upload["upload_id"], "dataset_id": created["id"], "bytes": size, "filename": "train.jsonl"}) == (
        status,
        upload,
    )

    status, shown = shell.run(SHOW_DATASET, dataset=created["id"])
    said: dict[str, Any] = {"name": "chatglm_pairs_v1", "type": "text2text", "description": "object-storage", "task_type": "sft"}
    said |= {"id": created["id"], "created_at": created["created_at"], "status": "ready", "train_config": None}
    assert (200, said) == (status, {field: shown[field] for field in said})
    assert {"language": "zh", "records": 1024} == shown["metadata"]
    assert {"files_count": 1} == shown["upload_progress"]
    (file,) = shown["files"]
    assert (upload["upload_id"], "train.jsonl", size) == (file["upload_id"], file["name"], file["bytes"])
    assert {"stored_name", "uploaded_at"} <= set(file)

    aborted = shell.run(ABORT_UPLOAD, upload=upload["upload_id"])
    assert (200, {"upload_id": upload["upload_id"], "status": "aborted"}) == aborted
    assert [] == shell.run(SHOW_DATASET, dataset=created["id"])[1]["files"]


def test_ids_that_were_never_given_are_not_found(shell: Shell) -> None:
    for command in (SHOW_DATASET, UPLOAD_SMALL_FILE, ABORT_UPLOAD):
        assert 404 == shell.run(command)[0]


def test_the_life_of_a_training_config(shell: Shell) -> None:
    status, uploaded = shell.run(UPLOAD_YAML)
    assert (200, {"train_config"}) == (status, set(uploaded))
    assert ("finetune.yaml", len(YAML)) == (uploaded["train_config"]["filename"], uploaded["train_config"]["size"])

    assert (200, uploaded["train_config"]) == shell.run(SHOW_CONFIG)
    assert {"filename", "uploaded_at", "size"} == set(uploaded["train_config"])

    assert (200, {"status": "train_config_deleted"}) == shell.run(DELETE_CONFIG)
    assert 404 == shell.run(SHOW_CONFIG)[0]


def test_deidentifying_a_text(shell: Shell) -> None:
    status, answer = shell.run(DEIDENTIFY)

    ((result,), (mapped,)) = answer["results"], answer["mapping"]
    assert (200, "default", 42) == (status, answer["policy_id"], answer["seed"])
    assert "13812345678" not in result["text"]
    assert "客户手机号 13812345678" == result["text"].replace(mapped["replacement"], mapped["original"])
    assert result == shell.run(DEIDENTIFY)[1]["results"][0]
    assert result != shell.run(DEIDENTIFY.replace("42", "43"))[1]["results"][0]


def test_from_uploads_to_a_run(shell: Shell, house: House) -> None:
    """What the documents' summary tells: register and fill a dataset, upload a config, register a project, launch."""
    project = {"name": "qwen-finetune", "dataset_name": "datasets/sample.jsonl", "training_yaml_name": "configs/train.yaml"}
    house.ok("POST", "/projects", json=project)

    status, refusal = shell.run(LAUNCH)
    assert 400 == status
    assert all(name in refusal["detail"] for name in ("datasets/sample.jsonl", "configs/train.yaml"))

    dataset = house.ok("POST", "/v1/datasets", json={"name": "samples", "task_type": "sft"})["id"]
    status, upload = shell.run(UPLOAD_FILE, dataset=dataset)
    assert (200, "sample.jsonl") == (status, upload["filename"])
    status, config = shell.run(UPLOAD_CONFIG)
    assert (200, "train.yaml") == (status, config["train_config"]["filename"])

    status, run = shell.run(LAUNCH)
    assert 201 == status
    assert ("run-001", "queued", 0.0, None, []) == tuple(run[each] for each in ("name", "status", "progress", "started_at", "artifacts"))
    assert run["start_command"].startswith("bash run_train_full_sft.sh ")

    ended = house.ended("qwen-finetune", "run-001")
    assert ("succeeded", "已完成", 1.0) == (ended["status"], ended["status_label"], ended["progress"])
    log = house.ok("GET", f"/projects/{run['project_id']}/runs/{run['id']}/logs?page=1&page_size=50")
    assert (1, 50, len(log["items"])) == (log["page"], log["page_size"], log["total"])
    assert {"timestamp", "level", "message"} == set(log["items"][0])
    assert {"task_type: sft", "learning_rate: 2.0e-05"} <= {item["message"] for item in log["items"]}


def test_the_life_of_a_deployment(shell: Shell, house: House) -> None:
    (house.training / "models" / "qwen2.5").mkdir(parents=True)

    status, deployment = shell.run(DEPLOY)
    assert (201, "queued", "排队中") == (status, deployment["status"], deployment["status_label"])
    given = {"model_path": "models/qwen2.5", "model_version": "v1", "tags": ["demo"], "health_path": "/health", "stopped_at": None}
    assert given.items() <= deployment.items()
    documented = {"deployment_id", "gpu_id", "port", "pid", "started_at", "health_ok", "vllm_cmd", "log_file"}
    assert documented <= set(deployment)

    def running() -> dict[str, Any] | None:
        status, shown = shell.run(SHOW_DEPLOYMENT, deployment=deployment["deployment_id"])
        assert 200 == status
        return shown if shown["status"] == "running" else None

    shown = eventually(running)
    assert (True, True, True) == (shown["health_ok"], shown["pid"] > 0, shown["started_at"] > 0)
    assert f"serve {house.training}/models/qwen2.5 --host 127.0.0.1 --port {shown['port']}" in shown["vllm_cmd"]
    assert shown["vllm_cmd"].endswith(" --max-num-seqs 4")
    assert "Application startup complete" in Path(shown["log_file"]).read_text()

    status, listed = shell.run(LIST_DEPLOYMENTS)
    assert (200, [shown["deployment_id"]]) == (status, [each["deployment_id"] for each in listed])
    removed = shell.run(REMOVE_DEPLOYMENT, deployment=shown["deployment_id"])
    assert (200, {"detail": "deployment removed", "deployment_id": shown["deployment_id"]}) == removed
    assert (200, []) == shell.run(LIST_DEPLOYMENTS)
    assert (404, 404) == (shell.run(SHOW_DEPLOYMENT)[0], shell.run(REMOVE_DEPLOYMENT)[0])

    status, second = shell.run(DEPLOY_SHORTLY)
    assert (201, "/models/qwen", ["demo"]) == (status, second["model_path"], second["tags"])
    assert 200 == shell.run(REMOVE_DEPLOYMENT, deployment=second["deployment_id"])[0]


def test_the_summary_system(house: House) -> None:
    """The first document has no curl, so its bodies are sent as they are printed."""
    project = post(house, "/projects", SUMMARY_PROJECT)
    assert json.loads(SUMMARY_PROJECT).items() <= project.items()
    assert project["id"].startswith("proj_")
    assert ("draft", "草稿", []) == (project["status"], project["status_label"], project["runs"])
    assert {"id": project["id"], "name": "中文摘要系统", "status": "draft", "owner": "小李"}.items() <= house.ok("GET", "/projects")[
        0
    ].items()

    house.ok("POST", "/v1/datasets", json={"name": "中文科技论文语料", "task_type": "sft"})
    house.ok("PUT", "/v1/datasets/中文科技论文语料/files", files={"file": ("论文.jsonl", SAMPLES.encode())})

    run = post(house, f"/projects/{project['id']}/runs", SUMMARY_RUN)
    assert run["id"].startswith("run_")
    assert (project["id"], "run-001", "排队中") == (run["project_id"], run["name"], run["status_label"])
    assert (0.0, None, []) == (run["progress"], run["started_at"], run["artifacts"])
    effective = {"model_name": "llama-2-13b", "learning_rate": 2e-5, "per_device_train_batch_size": 32, "num_train_epochs": 3}
    assert effective.items() <= run["config"].items()

    waiting = eventually(lambda: house.run("中文摘要系统", "run-001")["waiting"])
    assert "4 块 A100 GPU" in waiting["text"]
    (mention,) = house.ok("GET", f"/projects/{project['id']}")["runs"]
    assert {"id": run["id"], "name": "run-001", "status": "queued", "progress": 0.0, "started_at": None}.items() <= mention.items()


def post(house: House, address: str, body: str) -> dict[str, Any]:
    answer = house.client.post(address, content=body.encode(), headers={"Content-Type": "application/json"})
    assert 201 == answer.status_code, answer.text
    created: dict[str, Any] = answer.json()
    return created
