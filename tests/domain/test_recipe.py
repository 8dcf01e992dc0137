"""What a run freezes: project defaults, then the YAML, then the request; and everything that is missing, named at once."""

from typing import Any

import pytest

from domain.errors import Invalid
from domain.files import Pinned
from domain.projects.project import Project
from domain.runs.recipe import FoundConfig, FoundDataset, Recipe, freeze
from domain.runs.run import NewRun
from tests.things import a_project

PATH = "datasets/对话/train.jsonl"
PINNED = Pinned(path="store/ab", size_bytes=7, sha256="ab")
DATASET = FoundDataset(pinned=PINNED, path=PATH, task_type="sft")


def project(**facts: Any) -> Project:
    return a_project(**({"dataset_name": PATH, "training_yaml_name": "configs/sft.yaml"} | facts))


def yaml(**values: Any) -> FoundConfig:
    return FoundConfig(values={"task_type": "sft", "dataset": PATH} | values)


def flaws(asked: NewRun, dataset: FoundDataset | None, config: FoundConfig | None, **facts: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        freeze(project(**facts), asked, dataset, config)
    assert refusal.value.detail.startswith("the run cannot start as it is: ")
    assert all(flaw.message in refusal.value.detail for flaw in refusal.value.flaws)
    return {flaw.field: flaw.message for flaw in refusal.value.flaws}


def test_the_request_goes_over_the_yaml_and_the_yaml_over_the_project() -> None:
    defaults = {"a": "project", "b": "project", "c": "project", "learning_rate": 1.0}

    recipe = freeze(
        project(default_hyperparameters=defaults), NewRun(hyperparameters={"c": "run", "d": "run"}), DATASET, yaml(b="yaml", c="yaml")
    )

    values = {"a": "project", "b": "yaml", "c": "run", "d": "run", "learning_rate": 1.0, "task_type": "sft", "dataset": PATH}
    assert values == recipe.config
    assert Recipe(config=recipe.config, inputs={PATH: PINNED}, dataset=PATH, model=None) == recipe


@pytest.mark.parametrize(
    ("task_type", "model", "batch_size"),
    [
        ("sft", "model_name", "per_device_train_batch_size"),
        ("rl", "policy_model", "rollout_batch_size"),
        ("lora", "base_model", "train_batch_size"),
        ("pretrain", "model_name", "global_batch_size"),
    ],
)
def test_what_every_launch_may_set_bears_the_names_of_its_task_type(task_type: str, model: str, batch_size: str) -> None:
    asked = NewRun(model="mine", hyperparameters={"batch_size": 8, "num_epochs": 3, "learning_rate": 2e-5, "own_key": [1]})
    defaults = {"batch_size": 1, "num_epochs": 1}

    recipe = freeze(
        project(default_hyperparameters=defaults, base_model="base"), asked, DATASET, yaml(task_type=task_type, **{model: "yaml"})
    )

    expected = {model: "mine", batch_size: 8, "num_train_epochs": 3, "learning_rate": 2e-5, "own_key": [1]}
    assert expected | {"task_type": task_type, "dataset": PATH} == recipe.config
    assert "mine" == recipe.model


@pytest.mark.parametrize(
    ("base", "said", "asked", "model"), [("p", None, None, "p"), ("p", "y", None, "y"), ("p", "y", "r", "r"), (None, None, None, None)]
)
def test_the_model_is_the_one_said_last(base: str | None, said: str | None, asked: str | None, model: str | None) -> None:
    config = yaml(**({"model_name": said} if said else {}))

    assert model == freeze(project(base_model=base), NewRun(model=asked), DATASET, config).model


@pytest.mark.parametrize(
    ("of_dataset", "of_project", "task_type"),
    [("lora", "sft", "lora"), (None, "强化学习", "rl"), (None, "pretrain", "pretrain"), ("文本摘要", "sft", "sft")],
)
def test_without_a_yaml_one_is_made_of_what_the_dataset_or_the_project_is_for(
    of_dataset: str | None, of_project: str, task_type: str
) -> None:
    dataset = FoundDataset(pinned=PINNED, path=PATH, task_type=of_dataset)

    recipe = freeze(project(training_yaml_name=None, task_type=of_project), NewRun(), dataset, None)

    assert {"task_type": task_type, "dataset": PATH} == recipe.config


def test_everything_that_is_missing_is_named_at_once() -> None:
    found = flaws(NewRun(hyperparameters={"output_dir": "/x", "resume_from_checkpoint": "/y", "fine": 1}), None, None)

    assert {"dataset", "training_yaml_name", "hyperparameters.output_dir", "hyperparameters.resume_from_checkpoint"} == set(found)
    assert all(PATH in found["dataset"] and "in the training directory" in found[field] for field in ("dataset", "training_yaml_name"))
    assert "every run writes into its own folder" in found["hyperparameters.output_dir"]


def test_a_project_without_a_dataset_says_what_to_do() -> None:
    found = flaws(NewRun(), None, None, dataset_name=None, training_yaml_name=None)

    assert "the project names no dataset: set its dataset_name, or send `dataset` with the run" == found["dataset"]


def test_a_task_type_must_be_known() -> None:
    assert "task_type is dpo; it must be one of sft, rl, lora, pretrain" in flaws(NewRun(), DATASET, yaml(task_type="dpo"))["task_type"]
    assert "task_type is missing" in flaws(NewRun(), DATASET, yaml(task_type=None))["task_type"]
    nothing = FoundDataset(pinned=PINNED, path=PATH)
    assert "has no training config" in flaws(NewRun(), nothing, None, training_yaml_name=None, task_type="文本摘要")["training_yaml_name"]


def test_a_yaml_that_names_another_dataset_is_refused_unless_the_run_names_its_own() -> None:
    other = yaml(dataset="datasets/other.jsonl")

    assert "names dataset datasets/other.jsonl, the project" in flaws(NewRun(), DATASET, other)["dataset"]
    assert PATH == freeze(project(), NewRun(dataset=PATH), DATASET, other).config["dataset"]


def test_freezing_changes_nothing_it_was_given() -> None:
    defaults, values, asked = {"batch_size": 1}, {"task_type": "sft", "dataset": PATH, "batch_size": 2}, {"batch_size": 3}

    freeze(project(default_hyperparameters=defaults), NewRun(hyperparameters=asked), DATASET, FoundConfig(values=values))

    assert ({"batch_size": 1}, {"task_type": "sft", "dataset": PATH, "batch_size": 2}, {"batch_size": 3}) == (defaults, values, asked)


def test_what_the_platform_owns_cannot_be_set_by_a_yaml_or_a_project() -> None:
    recipe = freeze(project(default_hyperparameters={"resume_from_checkpoint": "/a"}), NewRun(), DATASET, yaml(output_dir="/b"))

    assert {"output_dir", "resume_from_checkpoint"}.isdisjoint(recipe.config)


def test_what_the_platform_owns_cannot_be_set_in_another_spelling_or_deeper_down() -> None:
    spelt = {
        "output-dir": 1,
        "outputDir": 1,
        "--output_dir": 1,
        "OUTPUT_DIR": 1,
        " output_dir": 1,
        "training.output_dir": 1,
        "Task Type": 1,
    }
    nested: dict[str, Any] = {
        "args": {"resume_from_checkpoint": 1, "task_type": "CAUSAL_LM"},
        "callbacks": [{"fine": 1}, {"output_dir": 1}],
    }

    found = flaws(NewRun(hyperparameters=spelt | nested), DATASET, yaml())

    assert {f"hyperparameters.{key}" for key in (*spelt, "args.resume_from_checkpoint", "callbacks[1].output_dir")} == set(found)
    kept = {"args": {"task_type": "CAUSAL_LM"}, "callbacks": [{"fine": 1}, {}]}
    config = freeze(project(), NewRun(), DATASET, yaml(**spelt, **nested)).config
    assert kept == {key: value for key, value in config.items() if key in kept}
    assert {"Task Type"} == set(spelt) & set(config)
