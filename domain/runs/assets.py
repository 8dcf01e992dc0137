"""What of a run's needs is uploaded; what is not may still lie in the training directory."""

from typing import Protocol

from msgspec import Struct

from domain.datasets import actions as datasets
from domain.datasets.references import resolve
from domain.errors import NotFound
from domain.files import Pinned
from domain.projects import actions as projects
from domain.projects.project import Project
from domain.runs import queries
from domain.runs.artifact import Artifact
from domain.runs.recipe import FoundConfig, FoundDataset
from domain.runs.run import NewRun, Run
from domain.train_configs import actions as train_configs


class Tx(projects.Tx, datasets.Tx, train_configs.Tx, Protocol):
    """What this question may touch."""


class SourceTx(Tx, queries.Tx, Protocol):
    """What looking up a resume may touch."""


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
        config=FoundConfig(values=config.values, sha256=config.sha256) if config else None,
    )


def is_uploaded(tx: Tx, path: str) -> bool:
    """Whether a path that a config names is that of an uploaded file."""
    return train_configs.resolve(tx, path) is not None or resolve(tx, path) is not None


class Source(Struct, frozen=True, kw_only=True):
    """What a resumed run goes on from."""

    run: Run
    checkpoint: Artifact
    folder: str | None
    """The id of the training folder that the checkpoint lies in; None when its host is not known any more."""
    dataset: FoundDataset | None
    """Another dataset, where the request names one that is uploaded."""
    deid_policy: str | None
    """By which that one must have been de-identified."""


def source(tx: SourceTx, project_ref: str, run_ref: str, artifact_id: str, asked: NewRun) -> Source:
    """Look up what a resume names; Invalid when it is no complete checkpoint, NotFound when it is not of this project."""
    run = queries.get(tx, project_ref, run_ref)
    checkpoint = tx.artifacts.in_project(run.project_id, artifact_id)
    if checkpoint is None:
        message = f"project {project_ref} has no artifact {artifact_id}"
        raise NotFound(message, artifact=artifact_id)
    checkpoint.require_resumable()
    left_by = tx.runs.get(checkpoint.run_id)
    name = (left_by.host or next((each.host for each in reversed(left_by.attempts)), None)) if left_by else None
    host = tx.hosts.get(name) if name else None
    dataset = _dataset(tx, asked.dataset) if asked.dataset else None
    project = projects.get(tx, project_ref)
    folder = host[0].folder if host else None
    return Source(run=run, checkpoint=checkpoint, folder=folder, dataset=dataset, deid_policy=project.deid_policy)


def _dataset(tx: Tx, ref: str) -> FoundDataset | None:
    found = resolve(tx, ref)
    if found is None:
        return None
    upload = found.upload
    pinned = Pinned(path=upload.stored_name, size_bytes=upload.bytes, sha256=upload.sha256)
    made = upload.deidentified
    return FoundDataset(path=found.path, pinned=pinned, task_type=found.dataset.task_type, deidentified_by=made.policy_id if made else None)
