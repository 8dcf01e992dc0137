"""What of a run's needs is uploaded; what is not may still lie in the training directory."""

from typing import Protocol

from msgspec import Struct

from domain.datasets import actions as datasets
from domain.datasets.dataset import FOLDER
from domain.files import Pinned
from domain.projects import actions as projects
from domain.projects.project import Project
from domain.runs.recipe import FoundConfig, FoundDataset
from domain.runs.run import NewRun
from domain.train_configs import actions as train_configs


class Tx(projects.Tx, datasets.Tx, train_configs.Tx, Protocol):
    """What this question may touch."""


class Uploaded(Struct, frozen=True, kw_only=True):
    """The project, and what of its needs was uploaded."""

    project: Project
    dataset_ref: str | None
    dataset: FoundDataset | None
    config_ref: str | None
    config: FoundConfig | None


def uploaded(tx: Tx, project_ref: str, asked: NewRun) -> Uploaded:
    """Look a run's dataset and config up among the uploads; Invalid when the dataset's path could mean several files."""
    project = projects.get(tx, project_ref)
    dataset_ref = asked.dataset or project.dataset_name
    config_ref = project.training_yaml_name
    config = train_configs.resolve(tx, config_ref) if config_ref else None
    return Uploaded(
        project=project,
        dataset_ref=dataset_ref,
        dataset=_dataset(tx, dataset_ref) if dataset_ref else None,
        config_ref=config_ref,
        config=FoundConfig(values=config.values) if config else None,
    )


def _dataset(tx: Tx, ref: str) -> FoundDataset | None:
    found = datasets.resolve(tx, ref)
    if found is None:
        return None
    dataset, upload = found
    return FoundDataset(
        path=ref if ref.startswith(FOLDER) else f"{FOLDER}{dataset.name}/{upload.name}",
        pinned=Pinned(path=upload.stored_name, size_bytes=upload.bytes, sha256=upload.sha256),
        task_type=dataset.task_type,
    )
