"""The fields of a training config: which each task type needs, what may stand in them, and the names that people misspell."""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite, isinf
from typing import Any, Literal, TypeGuard

from msgspec import Struct

from domain.training.problem import Problem, shown
from domain.training.rule import Rule
from domain.training.task_type import KEYS, TaskType

SHORTEST_KEY, LONGEST_KEY = 4, 60
"""Characters of a key that may be a typo: shorter names are alike by chance, longer ones are no names."""
MOST_TYPOS = 20
"""Unknown keys that are looked at for a likely typo."""


class Field(Struct, frozen=True):
    """What may stand in a field."""

    kind: Literal["whole", "number", "boolean", "text", "names"]
    example: str
    low: float = 0
    high: float = float("inf")
    beyond: bool = False
    """Whether it must be more than `low`."""
    choices: tuple[str, ...] = ()


_COUNT = Field("whole", "8", low=1, high=10**9)
_STEPS = Field("number", "100", high=10**12)
_SHARE = Field("number", "0.03", high=1)
_TEXT = Field("text", "qwen-7b")
_FLAG = Field("boolean", "true")

FIELDS: dict[str, Field] = {
    "model_name": _TEXT,
    "base_model": _TEXT,
    "policy_model": _TEXT,
    "reward_model": _TEXT,
    "tokenizer": Field("text", "configs/tokenizer.model"),
    "max_seq_length": Field("whole", "2048", low=1, high=10**8),
    "sequence_length": Field("whole", "4096", low=1, high=10**8),
    "per_device_train_batch_size": Field("whole", "4", low=1, high=10**6),
    "per_device_batch_size": Field("whole", "4", low=1, high=10**6),
    "per_device_eval_batch_size": Field("whole", "4", low=1, high=10**6),
    "train_batch_size": Field("whole", "64", low=1, high=10**6),
    "global_batch_size": Field("whole", "1024", low=1, high=10**8),
    "rollout_batch_size": Field("whole", "16", low=1, high=10**6),
    "gradient_accumulation_steps": Field("whole", "4", low=1, high=10**6),
    "update_epochs": Field("whole", "4", low=1, high=10**4),
    "learning_rate": Field("number", "2e-5", high=1, beyond=True),
    "num_train_epochs": Field("number", "3", high=10**5, beyond=True),
    "max_steps": Field("whole", "1000", low=-1, high=10**12),
    "warmup_ratio": _SHARE,
    "warmup_steps": _STEPS,
    "weight_decay": _SHARE,
    "max_grad_norm": Field("number", "1.0"),
    "logging_steps": _STEPS,
    "save_steps": _STEPS,
    "eval_steps": _STEPS,
    "save_total_limit": Field("whole", "3", low=1, high=10**6),
    "seed": Field("whole", "42", high=2**63 - 1),
    "kl_target": Field("number", "0.1"),
    "algorithm": Field("text", "ppo", choices=("ppo", "dpo", "grpo", "rloo")),
    "lora_r": Field("whole", "8", low=1, high=1024),
    "lora_alpha": Field("number", "16", beyond=True),
    "lora_dropout": Field("number", "0.05", high=1),
    "use_8bit": _FLAG,
    "use_4bit": _FLAG,
    "bnb_4bit_quant_type": Field("text", "nf4", choices=("nf4", "fp4")),
    "peft_target_modules": Field("names", ""),
    "target_modules": Field("names", ""),
    "bf16": _FLAG,
    "fp16": _FLAG,
    "gradient_checkpointing": _FLAG,
    "packing": _FLAG,
}
"""Fields whose meaning is the same to every trainer."""

NEEDED: dict[TaskType, tuple[str, ...]] = {
    TaskType.sft: ("max_seq_length", "per_device_train_batch_size", "learning_rate", "num_train_epochs"),
    TaskType.rl: ("algorithm", "reward_model", "rollout_batch_size", "update_epochs", "kl_target"),
    TaskType.lora: ("lora_r", "lora_alpha", "lora_dropout", "train_batch_size"),
    TaskType.pretrain: ("sequence_length", "global_batch_size", "learning_rate"),
}
"""The key fields of document 004, beside the model."""

LENGTH = {TaskType.pretrain: "sequence_length"}
"""What a task's YAML calls the longest sample; `max_seq_length` for the others."""

_ALSO_KNOWN = [
    "task_type",
    "dataset",
    "output_dir",
    "resume_from_checkpoint",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "attn_implementation",
    "beta",
    "cutoff_len",
    "data_seed",
    "dataloader_num_workers",
    "ddp_timeout",
    "deepspeed",
    "do_eval",
    "do_train",
    "eval_split",
    "eval_strategy",
    "evaluation_strategy",
    "finetuning_type",
    "fsdp",
    "fsdp_config",
    "group_by_length",
    "label_smoothing_factor",
    "load_best_model_at_end",
    "lora_target_modules",
    "loss_type",
    "lr_scheduler_kwargs",
    "lr_scheduler_type",
    "max_completion_length",
    "max_length",
    "max_new_tokens",
    "max_prompt_length",
    "max_target_length",
    "metric_for_best_model",
    "min_learning_rate",
    "neftune_noise_alpha",
    "num_generations",
    "num_processes",
    "optim",
    "pipeline_parallel_size",
    "quantization_bit",
    "remove_unused_columns",
    "report_to",
    "rope_scaling",
    "run_name",
    "save_only_model",
    "save_safetensors",
    "save_strategy",
    "step_delay_seconds",
    "stage",
    "temperature",
    "tensor_parallel_size",
    "tf32",
    "top_k",
    "top_p",
    "torch_compile",
    "torch_dtype",
    "trust_remote_code",
    "use_flash_attention",
    "use_lora",
    "val_size",
    "validation_split",
    "warmup",
]
"""Names of common trainers, which are no typos."""
_KNOWN = (*FIELDS, *_ALSO_KNOWN)


def check(config: dict[str, Any], task: TaskType, *, written: bool) -> Iterator[Problem]:
    """Look at an effective config; `written` tells whether a YAML is there, which should say what the training depends on."""
    model = KEYS[task].model
    if not config.get(model):
        yield Problem(rule=Rule.missing_model if written else Rule.model_unsaid, place=model, facts={"key": model})
    missing = [f"`{key}`" for key in NEEDED[task] if config.get(key) is None]
    if written and missing:
        yield Problem(rule=Rule.missing_keys, facts={"keys": ", ".join(missing)})
    for key, value in config.items():
        if key in FIELDS and value is not None:
            yield from _value(key, value, FIELDS[key])
    unknown = [key for key in config if key not in _KNOWN][:MOST_TYPOS]
    for key in unknown:
        meant = _meant(key)
        if meant is not None:
            yield Problem(rule=Rule.likely_typo, place=key, facts={"key": shown(key), "meant": meant})


def length_of(config: dict[str, Any], task: TaskType) -> tuple[str, int | None]:
    """Return what the config calls the longest sample, and how long that is in tokens."""
    key = LENGTH.get(task, "max_seq_length")
    return key, count_in(config, key)


def count_in(config: dict[str, Any], key: str) -> int | None:
    """Return a number of things that the config says; None where it says none, or none that can be."""
    value, field = config.get(key), FIELDS.get(key, _COUNT)
    return value if whole(value) and value <= field.high else None


def whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number of at least one."""
    return type(value) is int and value >= 1


def _value(key: str, value: object, field: Field) -> Iterator[Problem]:
    facts = {"key": key, "found": _found(value), "example": field.example}
    match field.kind:
        case "whole" | "number":
            yield from _number(value, field, key, facts)
        case "boolean":
            if not isinstance(value, bool):
                yield Problem(rule=Rule.not_boolean, place=key, facts=facts)
        case "names":
            names = [value] if isinstance(value, str) else value
            if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
                yield Problem(rule=Rule.not_names, place=key, facts=facts)
        case "text":
            if not isinstance(value, str) or not value.strip():
                yield Problem(rule=Rule.not_a_text, place=key, facts=facts)
            elif field.choices and value.lower() not in field.choices:
                yield Problem(rule=Rule.unknown_choice, place=key, facts=facts | {"known": ", ".join(field.choices)})


def _number(value: object, field: Field, key: str, facts: dict[str, str]) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        yield Problem(rule=Rule.not_a_number, place=key, facts=facts)
    elif field.kind == "whole" and value != int(value):
        yield Problem(rule=Rule.not_whole, place=key, facts=facts)
    elif not field.low <= value <= field.high or (field.beyond and value == field.low):
        yield Problem(rule=Rule.out_of_range, place=key, facts=facts | _range(field))


def _range(field: Field) -> dict[str, str]:
    zh = f"大于 {field.low:g}" if field.beyond else f"不小于 {field.low:g}"
    en = f"more than {field.low:g}" if field.beyond else f"at least {field.low:g}"
    if isinf(field.high):
        return {"range_zh": zh, "range_en": en}
    return {"range_zh": f"{zh}且不大于 {field.high:g}", "range_en": f"{en} and at most {field.high:g}"}


def _found(value: object) -> str:
    return f'"{shown(value)}"' if isinstance(value, str) else shown(str(value).lower() if isinstance(value, bool) else value)


@lru_cache(maxsize=1024)
def _meant(key: str) -> str | None:
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        return None
    found = get_close_matches(key.lower().replace("-", "_"), _KNOWN, n=1, cutoff=0.87)
    return found[0] if found else None
