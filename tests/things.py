"""Things of the house for tests: each valid and as plain as it can be, with whatever a test wants to be otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

from domain.datasets.dataset import Dataset, Upload
from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.files import Kept, Pinned
from domain.hosts.host import Host, Registration
from domain.ids import ArtifactId, DeploymentId, HostName, ProcessId, ProjectId, RunId, UploadId, new_id, new_uuid
from domain.processes.process import Phase, Process, Resources
from domain.projects.project import Project, ProjectStatus
from domain.runs.artifact import Artifact, ArtifactType
from domain.runs.recipe import Recipe
from domain.runs.run import Run, RunStatus

AT = datetime(2025, 11, 20, 8, 30, 59, 123456, UTC)
"""A moment with microseconds."""
HOST = HostName("gpu-1")
TEMPLATE = "bash run_train_full_sft.sh <training_yaml>"


SAMPLES = {
    "sft": b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n',
    "rl": b'{"prompt": "p", "chosen": "a", "rejected": "b"}\n',
    "lora": b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rank": 8}\n',
    "pretrain": b'{"text": "t"}\n',
}
"""A sound data line of each task."""


def a_project(name: str = "p", **facts: Any) -> Project:
    given: dict[str, Any] = {
        "id": ProjectId(new_id("proj_")),
        "name": name,
        "status": ProjectStatus.active,
        "created_at": AT,
        "updated_at": AT,
    }
    return Project(**(given | facts))


def a_dataset(name: str = "d", **facts: Any) -> Dataset:
    given: dict[str, Any] = {"id": new_uuid(), "name": name, "created_at": AT}
    return Dataset(**(given | facts))


def an_upload(dataset: Dataset, name: str = "train.jsonl", **facts: Any) -> Upload:
    given: dict[str, Any] = {
        "id": UploadId(new_uuid()),
        "dataset_id": dataset.id,
        "name": name,
        "sha256": "00",
        "stored_name": "store/00",
        "bytes": 1,
        "added_in": 1,
    }
    given["uploaded_at"] = AT
    return Upload(**(given | facts))


def kept(name: str, content: str = "00") -> Kept:
    return Kept(name=name, sha256=content, stored_name=f"store/{content}", size_bytes=1)


def a_recipe(**facts: Any) -> Recipe:
    given: dict[str, Any] = {
        "config": {"task_type": "sft"},
        "inputs": {"datasets/d/t": Pinned(path="store/00", size_bytes=1)},
        "dataset": "datasets/d/t",
        "model": None,
    }
    return Recipe(**(given | facts))


def a_run(project_id: str = "proj_0", name: str = "run-001", **facts: Any) -> Run:
    given: dict[str, Any] = {
        "id": RunId(new_id("run_")),
        "project_id": ProjectId(project_id),
        "name": name,
        "status": RunStatus.queued,
        "start_command": "true",
        "config": {},
        "inputs": {},
        "created_at": AT,
        "updated_at": AT,
    }
    return Run(**(given | facts))


def a_process(owner_id: str | None = None, **facts: Any) -> Process:
    given: dict[str, Any] = {
        "id": ProcessId(new_id("proc_")),
        "owner_id": owner_id or new_id("run_"),
        "phase": Phase.waiting,
        "argv": ["true"],
        "resources": Resources(),
        "created_at": AT,
        "updated_at": AT,
    }
    return Process(**(given | facts))


def a_deployment(**facts: Any) -> Deployment:
    given: dict[str, Any] = {
        "id": DeploymentId(new_uuid()),
        "status": DeploymentStatus.queued,
        "model_path": "/models/qwen",
        "served_names": ["/models/qwen"],
        "model": "/models/qwen",
        "created_at": AT,
        "updated_at": AT,
    }
    return Deployment(**(given | facts))


def a_host(name: str = HOST, **facts: Any) -> Host:
    given: dict[str, Any] = {
        "id": HostName(name),
        "address": "127.0.0.1",
        "boot_id": "boot",
        "lease": 1,
        "lease_until": AT,
        "slots": 8,
        "folder": "folder",
        "executor": "local",
    }
    given["registered_at"] = AT
    return Host(**(given | facts))


def a_registration(name: str = HOST, **facts: Any) -> Registration:
    given: dict[str, Any] = {
        "name": HostName(name),
        "address": "127.0.0.1",
        "boot_id": "boot",
        "slots": 8,
        "gpus": [],
        "folder": "folder",
        "executor": "local",
        "sole": True,
        "ttl": timedelta(seconds=15),
    }
    return Registration(**(given | facts))


def an_artifact(run: Run, path: str, **facts: Any) -> Artifact:
    given: dict[str, Any] = {
        "id": ArtifactId(new_id("art_")),
        "run_id": run.id,
        "project_id": run.project_id,
        "name": path,
        "type": ArtifactType.model,
    }
    given |= {"path": f"file:///{path}", "size_bytes": 1, "created_at": AT, "updated_at": AT}
    return Artifact(**(given | facts))


LINES = b"".join(b'{"text": "%d \xe6\x95\xb0\xe6\x8d\xae"}\n' % number for number in range(100_000))
"""A data file of three megabytes."""
