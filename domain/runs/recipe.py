"""The recipe of a run: which bytes it will read and which configuration, decided once and frozen.

Project defaults, then the YAML, then the request. Everything that is missing is named at once.
"""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from domain.errors import Flaw, Invalid
from domain.files import Pinned
from domain.projects.project import Project
from domain.runs.run import NewRun, Run
from domain.training.task_type import KEYS, TaskType, task_type_of

PLATFORM_KEYS = {
    "dataset": "send it beside the hyperparameters",
    "output_dir": "every run writes into its own folder",
    "resume_from_checkpoint": "a run is resumed from a checkpoint by its id",
    "task_type": "the training config says it, or else the dataset",
}
"""Keys of a config that no hyperparameter sets, and why."""
OWNED = ("output_dir", "resume_from_checkpoint")
"""Those of them that not even a YAML or a project's defaults may bring along: the host fills them in."""


class FoundDataset(Struct, frozen=True, kw_only=True):
    """The data file that a reference turned out to mean."""

    pinned: Pinned
    path: str
    """How a config names it: `datasets/…`."""
    task_type: str | None = None
    """What its dataset says it is for; None for a file laid there by hand."""
    deidentified_by: str | None = None
    """The policy by which personal data was taken out of it."""


class FoundConfig(Struct, frozen=True, kw_only=True):
    """The YAML that a project's `training_yaml_name` turned out to mean, read."""

    values: dict[str, Any]
    sha256: str | None = None
    """Of the uploaded text; None for a file laid there by hand."""


class Recipe(Struct, frozen=True, kw_only=True):
    """What a run freezes at launch."""

    config: dict[str, Any]
    inputs: dict[str, Pinned]
    dataset: str
    model: str | None
    folder: str | None = None
    """The id of the training folder that holds what only lies on a disk; None when every input was uploaded."""


def freeze(project: Project, asked: NewRun, dataset: FoundDataset | None, config: FoundConfig | None) -> Recipe:
    """Decide what a run will read; Invalid naming each missing or contradictory thing."""
    flaws = [*_missing(project, asked, dataset, config), *_not_settable(asked), *_not_deidentified(project.deid_policy, dataset)]
    task_type = _task_type(project, dataset, config)
    if task_type is None and not flaws:
        flaws.append(_unknown_task_type(config))
    if dataset and config and not asked.dataset:
        flaws.extend(_other_dataset(project, dataset, config))
    if flaws or dataset is None or task_type is None:
        message = "the run cannot start as it is: " + "; ".join(flaw.message for flaw in flaws)
        raise Invalid(message, flaws)
    keys = KEYS[task_type]
    effective = _renamed(task_type, project.default_hyperparameters, project.base_model)
    effective |= config.values if config else {}
    effective |= _renamed(task_type, asked.hyperparameters, asked.model)
    effective |= {"task_type": str(task_type), "dataset": dataset.path}
    model = effective.get(keys.model)
    effective = _without_owned(effective)
    return Recipe(config=effective, inputs={dataset.path: dataset.pinned}, dataset=dataset.path, model=str(model) if model else None)


def again(source: Run, asked: NewRun, dataset: FoundDataset | None, checkpoint: str, deid_policy: str | None = None) -> Recipe:
    """Decide what a run that goes on from another's checkpoint will read: the source's frozen values, the request over them.

    `deid_policy` is the one by which another dataset must have been de-identified.
    """
    flaws = [*_not_settable(asked), *_not_deidentified(deid_policy, dataset)]
    if asked.dataset and dataset is None:
        flaws.append(Flaw("dataset", f"dataset {asked.dataset} is neither uploaded nor in the training directory"))
    if flaws:
        message = "the run cannot be resumed as asked: " + "; ".join(flaw.message for flaw in flaws)
        raise Invalid(message, flaws)
    task_type = task_type_of(source.config.get("task_type")) or TaskType.sft
    effective = source.config | _renamed(task_type, asked.hyperparameters, asked.model) | {"resume_from_checkpoint": checkpoint}
    inputs, path = (source.inputs, source.dataset or "") if dataset is None else ({dataset.path: dataset.pinned}, dataset.path)
    model = effective.get(KEYS[task_type].model)
    return Recipe(config=effective | {"dataset": path}, inputs=inputs, dataset=path, model=str(model) if model else None)


def _missing(project: Project, asked: NewRun, dataset: FoundDataset | None, config: FoundConfig | None) -> list[Flaw]:
    flaws = []
    wanted = asked.dataset or project.dataset_name
    if wanted is None:
        flaws.append(Flaw("dataset", "the project names no dataset: set its dataset_name, or send `dataset` with the run"))
    elif dataset is None:
        flaws.append(Flaw("dataset", f"no file of dataset {wanted} is uploaded or in the training directory"))
    if project.training_yaml_name and config is None:
        flaws.append(
            Flaw("training_yaml_name", f"training config {project.training_yaml_name} is neither uploaded nor in the training directory")
        )
    return flaws


def _not_deidentified(policy: str | None, dataset: FoundDataset | None) -> list[Flaw]:
    if policy is None or dataset is None or dataset.deidentified_by == policy:
        return []
    found = f"was de-identified by policy {dataset.deidentified_by}" if dataset.deidentified_by else "was not de-identified"
    fix = f"POST /v1/datasets/<id>/deidentify with policy_id {policy} makes its next version, which may be used"
    return [Flaw("dataset", f"the project requires data de-identified by policy {policy}; {dataset.path} {found}. {fix}")]


def _not_settable(asked: NewRun) -> list[Flaw]:
    top = [(key, _plain(key)) for key in asked.hyperparameters if _plain(key) in (OWNED if "." in key else PLATFORM_KEYS)]
    nested = [(path, _plain(path)) for key, value in asked.hyperparameters.items() for path in _owned_within(value, key)]
    return [Flaw(f"hyperparameters.{path}", f"{path} is no hyperparameter: {PLATFORM_KEYS[key]}") for path, key in top + nested]


def _owned_within(value: Any, way: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Give the path of every key inside a value that only the platform sets."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if _plain(key) in OWNED:
                yield f"{way}.{key}"
            yield from _owned_within(inner, f"{way}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _owned_within(inner, f"{way}[{index}]")


def _without_owned(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the same without the keys that only the platform sets, however deep and however spelt."""
    if isinstance(value, dict):
        return {key: _without_owned(inner) for key, inner in value.items() if _plain(key) not in OWNED}
    return [_without_owned(each) for each in value] if isinstance(value, list) else value


def _plain(key: str) -> str:
    """Return a key as some trainer might read it: `--output-dir`, `outputDir` and `training.OUTPUT_DIR` are all `output_dir`."""
    snake = _HUMP.sub("_", key.strip().rpartition(".")[2])
    return snake.lower().lstrip("-").replace("-", "_").replace(" ", "_")


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _task_type(project: Project, dataset: FoundDataset | None, config: FoundConfig | None) -> TaskType | None:
    if config is not None:
        return task_type_of(config.values.get("task_type"))
    return task_type_of(dataset.task_type if dataset else None) or task_type_of(project.task_type)


def _unknown_task_type(config: FoundConfig | None) -> Flaw:
    known = ", ".join(TaskType)
    if config is not None:
        said = config.values.get("task_type")
        return Flaw("task_type", f"the training config's task_type is {said or 'missing'}; it must be one of {known}")
    return Flaw(
        "training_yaml_name",
        f"the project has no training config, and its dataset does not say its task_type ({known}) so that one could be made",
    )


def _other_dataset(project: Project, dataset: FoundDataset, config: FoundConfig) -> list[Flaw]:
    said = config.values.get("dataset")
    if said is None or said in (project.dataset_name, dataset.path):
        return []
    return [Flaw("dataset", f"the training config names dataset {said}, the project {project.dataset_name}; make them agree")]


def _renamed(task_type: TaskType, hyperparameters: dict[str, Any], model: str | None) -> dict[str, Any]:
    keys = KEYS[task_type]
    named = {keys.rename(name): value for name, value in hyperparameters.items()}
    return named | ({keys.model: model} if model else {})
