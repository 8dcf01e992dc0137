"""A config is held against what its task needs; documents' own configs pass, and each wrong value is said with what may stand there."""

from typing import Any

import msgspec
import pytest

from domain.training.estimates import batch_of, estimate, parameters_of
from domain.training.fields import FIELDS, NEEDED, check
from domain.training.paths import check_urls, relative_paths
from domain.training.problem import Problem
from domain.training.rule import Rule
from domain.training.task_type import TaskType

DOCUMENTED: dict[str, dict[str, Any]] = {
    "sft": {
        "task_type": "sft",
        "model_name": "qwen-7b",
        "dataset": "datasets/sft_dataset.jsonl",
        "max_seq_length": 2048,
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-5,
        "num_train_epochs": 3,
    },
    "rl": {
        "task_type": "rl",
        "algorithm": "ppo",
        "policy_model": "qwen-7b-sft",
        "reward_model": "qwen-7b-rm",
        "dataset": "datasets/rl_preference.jsonl",
        "rollout_batch_size": 16,
        "update_epochs": 4,
        "kl_target": 0.1,
    },
    "lora": {
        "task_type": "lora",
        "base_model": "llama2-7b",
        "dataset": "datasets/lora_demo.jsonl",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "train_batch_size": 64,
        "gradient_accumulation_steps": 4,
        "use_8bit": True,
    },
    "pretrain": {
        "task_type": "pretrain",
        "model_name": "llama2-7b",
        "dataset": "datasets/pretrain_corpus.jsonl",
        "sequence_length": 4096,
        "global_batch_size": 1024,
        "learning_rate": 3e-4,
        "warmup_ratio": 0.01,
        "tokenizer": "configs/tokenizer.model",
    },
}


def found(task: str = "sft", *, written: bool = True, **values: Any) -> list[Problem]:
    return list(check(DOCUMENTED[task] | values, TaskType(task), written=written))  # type: ignore[call-arg]  # a word by its code


@pytest.mark.parametrize("task", DOCUMENTED)
def test_the_documents_own_configs_are_sound(task: str) -> None:
    assert [] == found(task)
    assert set(NEEDED[TaskType(task)]) <= set(DOCUMENTED[task]) & set(FIELDS)  # type: ignore[call-arg]  # as above


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("learning_rate", 0, Rule.out_of_range),
        ("learning_rate", -1e-5, Rule.out_of_range),
        ("learning_rate", 2.5, Rule.out_of_range),
        ("learning_rate", "2e-5", Rule.not_a_number),
        ("learning_rate", True, Rule.not_a_number),
        ("learning_rate", [1], Rule.not_a_number),
        ("num_train_epochs", 0, Rule.out_of_range),
        ("max_seq_length", 1.5, Rule.not_whole),
        ("max_seq_length", 0, Rule.out_of_range),
        ("max_seq_length", 2048.0, None),
        ("max_steps", -1, None),
        ("warmup_ratio", 1.01, Rule.out_of_range),
        ("use_8bit", "yes", Rule.not_boolean),
        ("peft_target_modules", "q_proj", None),
        ("peft_target_modules", ["q_proj", 1], Rule.not_names),
        ("algorithm", "p p o", Rule.unknown_choice),
        ("model_name", 7, Rule.not_a_text),
        ("seed", None, None),
        ("learnig_rate", 1, Rule.likely_typo),
        ("max-seq-length", 1, Rule.likely_typo),
        ("my_own_key", 1, None),
        ("lr_scheduler_type", "cosine", None),
    ],
)
def test_a_value_is_held_against_what_may_stand_there(key: str, value: object, rule: Rule | None) -> None:
    values: dict[str, Any] = {key: value}

    problems = found(**values)

    assert ([rule] if rule else []) == [problem.rule for problem in problems]
    assert all(key in problem.message(language) for problem in problems for language in ("zh", "en"))


def test_a_yaml_says_its_model_and_the_key_fields_while_a_config_that_we_made_need_not() -> None:
    bare: dict[str, Any] = {"model_name": None, "learning_rate": None, "num_train_epochs": None}

    assert [Rule.missing_model, Rule.missing_keys] == [each.rule for each in found(**bare)]
    assert "`learning_rate`, `num_train_epochs`" in found(**bare)[1].message("en")
    assert [Rule.model_unsaid] == [each.rule for each in found(written=False, **bare)]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("qwen-7b", None),
        ("Qwen/Qwen2.5-7B", None),
        ("/data/models/qwen", None),
        ("~/models/qwen", None),
        ("../models/qwen", None),
        ("http://127.0.0.1:8001/v1/score", None),
        ("models/qwen", "models/qwen"),
        ("./qwen", "qwen"),
        ("a/b/c", "a/b/c"),
        ("tokenizer.model", "tokenizer.model"),
        (7, None),
    ],
)
def test_a_path_is_told_from_a_name_and_from_a_url(value: object, path: str | None) -> None:
    assert ([("reward_model", path)] if path else []) == list(relative_paths({"reward_model": value}))


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("http://rm:8001/score", True),
        ("https://rm.example/a?b=c", True),
        ("qwen-7b-rm", True),
        ("http:///score", False),
        ("http:/rm", False),
        ("http://rm:99999", False),
        ("http://rm:x", False),
        ("ftp://rm/x", False),
        ("http://r m/", False),
    ],
)
def test_a_reward_models_url_is_checked_for_its_form(value: str, *, good: bool) -> None:
    assert good is (list(check_urls({"reward_model": value})) == [])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("qwen-7b", 7e9),
        ("qwen2.5-14b-instruct_xpytorch_full_sft", 14e9),
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("/models/llama-2-13b/", 13e9),
        ("mixtral-8x7b", 56e9),
        ("pythia-160m", 160e6),
        ("tiny-byte-mlp", None),
        ("gpt2", None),
        ("bge-m3", None),
        (None, None),
    ],
)
def test_a_models_size_is_read_from_its_name(name: str | None, parameters: float | None) -> None:
    assert parameters == parameters_of(name)


@pytest.mark.parametrize("task", DOCUMENTED)
def test_whatever_a_config_says_the_estimates_can_be_told(task: str) -> None:
    values: list[Any] = [0, -1, 2**63 - 1, 1e308, 0.1, True, "x", None, [], {}]
    for value in values:
        config = dict.fromkeys([*FIELDS, "tensor_parallel_size"], value)

        told = estimate(config, TaskType(task), "9999b", [], 2**63 - 1)  # type: ignore[call-arg]  # as above

        assert msgspec.json.encode(told)


def test_a_step_takes_what_the_config_says_or_what_the_devices_take_together() -> None:
    each = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}

    assert [16, 8, 8, None] == [
        batch_of(config, TaskType.sft, gpus).samples
        for config, gpus in ((each, 2), (each, 0), (each | {"tensor_parallel_size": 2}, 2), ({}, 8))
    ]
    assert 1024 == batch_of({"global_batch_size": 1024} | each, TaskType.pretrain, 8).samples
