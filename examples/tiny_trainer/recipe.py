"""What the YAML asks for: its keys as numbers and paths, checked before any data is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

OTHER_TRAINERS = {
    "rl": "use a reinforcement-learning trainer such as trl's GRPOTrainer or DPOTrainer, verl or OpenRLHF",
    "lora": "use peft with trl's SFTTrainer, or LLaMA-Factory",
}


class BadInput(Exception):
    """What was given cannot be trained on; the message says what, where, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training as asked for; a step trains on `batch_size` sequences of at most `sequence_length` bytes."""

    task_type: str
    model_name: str
    dataset: Path
    output_dir: Path
    resume_from_checkpoint: Path | None
    sequence_length: int
    batch_size: int
    learning_rate: float
    num_train_epochs: float
    max_steps: int
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    logging_steps: int
    save_steps: int
    eval_steps: int
    eval_split: float
    seed: int
    step_delay_seconds: float
    ignored_keys: tuple[str, ...]


SIZE_KEYS = {"max_seq_length", "per_device_train_batch_size", "global_batch_size", "gradient_accumulation_steps"}
KNOWN_KEYS = {field.name for field in fields(Recipe)} - {"batch_size", "ignored_keys"} | SIZE_KEYS


def read_recipe(path: Path) -> Recipe:
    """The recipe a YAML file describes; 0 for max_steps, save_steps or eval_steps means that the schedule chooses."""
    keys = _Keys(_mapping(path))
    task_type = _trainable(keys)
    return Recipe(
        task_type=task_type,
        model_name=keys.text("model_name") or "tiny-byte-mlp",
        dataset=_dataset(keys, path),
        output_dir=Path(keys.text("output_dir") or "output").resolve(),
        resume_from_checkpoint=Path(resume) if (resume := keys.text("resume_from_checkpoint")) else None,
        sequence_length=keys.whole("sequence_length" if task_type == "pretrain" else "max_seq_length", 512, least=2),
        batch_size=_batch_size(keys),
        learning_rate=keys.number("learning_rate", 2e-3),
        num_train_epochs=keys.number("num_train_epochs", 1.0),
        max_steps=max(keys.whole("max_steps", 0, least=-1), 0),
        warmup_ratio=keys.number("warmup_ratio", 0.03, most=1.0),
        weight_decay=keys.number("weight_decay", 0.0),
        max_grad_norm=keys.number("max_grad_norm", 1.0),
        logging_steps=keys.whole("logging_steps", 1),
        save_steps=keys.whole("save_steps", 0, least=0),
        eval_steps=keys.whole("eval_steps", 0, least=0),
        eval_split=keys.number("eval_split", 0.1, most=0.9),
        seed=keys.whole("seed", 42, least=0),
        step_delay_seconds=keys.number("step_delay_seconds", 0.0, most=3600.0),
        ignored_keys=tuple(sorted(str(key) for key in keys.values if key not in KNOWN_KEYS)),
    )


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadInput(f"config {path}, line {line}: not valid YAML ({problem.problem})") from None
    except yaml.YAMLError as problem:
        raise BadInput(f"config {path} is not valid YAML: {' '.join(str(problem).split())}") from None
    except (OSError, ValueError) as problem:
        raise BadInput(f"config {path} cannot be read: {problem}") from None
    if not isinstance(content, dict):
        raise BadInput(f"config {path} must be a mapping of keys to values, such as task_type: sft")
    return content


def _trainable(keys: _Keys) -> str:
    task_type = keys.text("task_type")
    if task_type in OTHER_TRAINERS:
        raise BadInput(f"task_type {task_type} is not something this tiny trainer can train; {OTHER_TRAINERS[task_type]}")
    if task_type not in {"sft", "pretrain"}:
        raise BadInput(f"task_type must be sft or pretrain, not {task_type or 'empty'}")
    return task_type


def _dataset(keys: _Keys, config: Path) -> Path:
    """The data file: an absolute path, else beside the config, else in the current directory."""
    named = keys.text("dataset")
    if not named:
        raise BadInput("dataset is missing: name a .jsonl file")
    candidates = [config.parent / named, Path(named)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadInput(f"dataset {named} does not exist (looked for {' and '.join(str(each.absolute()) for each in candidates)})")


def _batch_size(keys: _Keys) -> int:
    """Sequences per optimizer step; there is one device, so the global batch is its batch times the accumulation."""
    per_device = keys.whole("per_device_train_batch_size", 4)
    accumulated = per_device * keys.whole("gradient_accumulation_steps", 1)
    return keys.whole("global_batch_size", accumulated)


class _Keys:
    """The YAML's values, read as what they are meant to be."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def text(self, key: str) -> str:
        """A text, empty if it is not there."""
        value = self.values.get(key)
        return "" if value is None else str(value).strip()

    def number(self, key: str, default: float, *, most: float = math.inf) -> float:
        """A number from 0 to `most`."""
        if (value := self.values.get(key)) is None:
            return default
        number = _number(value)
        if not 0 <= number <= most:
            limit = "a number of at least 0" if math.isinf(most) else f"a number from 0 to {most:g}"
            raise BadInput(f"{key} must be {limit}, not {value!r}")
        return number

    def whole(self, key: str, default: int, *, least: int = 1) -> int:
        """A whole number of at least `least`."""
        if (value := self.values.get(key)) is None:
            return default
        number = _number(value)
        if not number >= least or not number.is_integer():
            raise BadInput(f"{key} must be a whole number of at least {least}, not {value!r}")
        return int(number)


def _number(value: object) -> float:
    """The value as a finite number, else NaN.

    YAML 1.1, which PyYAML speaks, takes 2e-5 for a string: it wants a dot and a sign, as in 2.0e-5.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
