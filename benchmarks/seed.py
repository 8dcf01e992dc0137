"""A house with something in it: fifty projects, a dataset, a config, and one run that ended well."""

from datetime import timedelta
from typing import Any

import httpx

from domain.access.principal import Principal
from domain.ids import ArtifactId, RunId, new_id
from domain.runs.artifact import Artifact, ArtifactType
from domain.runs.run import Run, RunStatus
from infra.db.database import open_database
from infra.db.transaction import Tx
from infra.db.url import read
from tests.house import PATIENCE

PROJECTS = 50
"""As many as a list shows at once."""
NAME = "项目-"
"""What a project's number follows."""
PROJECT = f"{NAME}0"
RUN = "run-done"
DATASET = "对话"
CHECKPOINTS = 2
LINE = '{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}\n'
YAML = f"task_type: sft\nmodel_name_or_path: qwen\ndataset: datasets/{DATASET}/train.jsonl\nlearning_rate: 2e-5\n"


def project(name: str) -> dict[str, Any]:
    """Return the body of a `POST /projects`, as the documents show it."""
    return {
        "name": name,
        "description": "对科研文章进行自动摘要",
        "objective": "降低阅读时间",
        "task_type": "sft",
        "base_model": "llama-2-13b",
        "owner": "小李",
        "tags": ["科研", "第一阶段"],
        "default_hyperparameters": {"learning_rate": 3e-5, "num_train_epochs": 3},
        "dataset_name": f"datasets/{DATASET}/train.jsonl",
        "training_yaml_name": "configs/train.yaml",
    }


def seed_over_http(port: int) -> None:
    """Upload what runs need, and register the projects."""
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=PATIENCE, trust_env=False) as client:
        answers = [
            client.post("/v1/datasets", json={"name": DATASET, "task_type": "sft"}),
            client.put(f"/v1/datasets/{DATASET}/files", files={"file": ("train.jsonl", LINE.encode())}),
            client.put("/v1/train-config", files={"file": ("train.yaml", YAML.encode())}),
            *(client.post("/projects", json=project(f"{NAME}{number}")) for number in range(PROJECTS)),
        ]
    for answer in answers:
        answer.raise_for_status()


async def add_finished_run(database_url: str) -> None:
    """Add the run that `GET run` shows: succeeded, with metrics and checkpoints, as no worker is there to train it."""
    database = await open_database(read(database_url), Principal(name="bench"), lambda _: None, patience=PATIENCE)
    try:
        await database.run(_finished_run)
    finally:
        await database.close()


def _finished_run(tx: Tx) -> None:
    project = tx.projects.find(PROJECT)
    assert project is not None
    run = Run(
        id=RunId(new_id("run_")),
        project_id=project.id,
        name=RUN,
        status=RunStatus.succeeded,
        progress=1.0,
        model=project.base_model,
        dataset=project.dataset_name,
        hyperparameters={"learning_rate": 2e-5, "batch_size": 32, "num_epochs": 3},
        start_command="bash run_train_full_sft.sh config.yaml",
        config={"task_type": "sft", "model_name_or_path": "qwen", "dataset": project.dataset_name, "learning_rate": 2e-5},
        inputs={},
        metrics={"train/loss": 1.72, "eval/loss": 1.8, "learning_rate": 1e-6, "rouge_l": 38.4},
        exit_code=0,
        created_at=tx.now,
        updated_at=tx.now,
        started_at=tx.now,
        finished_at=tx.now + timedelta(hours=1),
    )
    tx.runs.add(run)
    for number in range(CHECKPOINTS):
        checkpoint = Artifact(
            id=ArtifactId(new_id("ckpt_")),
            run_id=run.id,
            project_id=project.id,
            name=f"checkpoint-{number}",
            type=ArtifactType.checkpoint,
            path=f"file:///training/runs/{run.id}/output/checkpoint-{number}",
            step=number,
            size_bytes=123_456_789,
            created_at=tx.now,
            updated_at=tx.now,
        )
        tx.artifacts.put(checkpoint)
