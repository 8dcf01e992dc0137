"""What the training says: sentences for people, one JSON object a line for programs, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

NAMES = {
    "loss": "train/loss",
    "grad_norm": "grad_clip/norm",
    "train_loss": "train/loss_mean",
    "reward": "reward/mean",
    "reward_std": "reward/std",
    "kl": "kl_divergence",
    "completions/mean_length": "episode_length",
    "logps/chosen": "logp/chosen",
    "logps/rejected": "logp/rejected",
}
"""The documented names; all else keeps the name that its trainer gives it."""
PLACES = {"epoch", "num_tokens", "num_input_tokens_seen", "train_tokens_per_second"}


class Diverged(Exception):
    """The loss is no longer a number, so further steps are in vain."""


def is_first() -> bool:
    """Whether this is the process that speaks, and owns folders, for all that train together."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Print a line at once, in a single write; of several processes the first does."""
    if is_first():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Voice(TrainerCallback):
    """Reports each set of numbers that the trainer logs, in full precision and once."""

    def __init__(self, folder: Path, max_grad_norm: float) -> None:
        self._folder = folder
        self._max_grad_norm = max_grad_norm
        self._events: Any = None
        self._since, self._tokens = time.perf_counter(), 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Count tokens from here."""
        self._since, self._tokens = time.perf_counter(), state.num_input_tokens_seen
        if state.is_world_process_zero:
            self._events = SummaryWriter(str(self._folder))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: object) -> None:
        """Publish the numbers of a step."""
        values = {_name(name): float(value) for name, value in logs.items() if name not in PLACES and isinstance(value, int | float)}
        if "train/loss" in values:
            values |= self._speed(logs, state) | self._clipping(values)
            values.pop("train_runtime", None)
        if {"rewards/chosen", "rewards/rejected"} <= values.keys():
            values["reward/mean"] = (values["rewards/chosen"] + values["rewards/rejected"]) / 2
        _check(values, state.global_step)
        say(json.dumps({"step": state.global_step, "max_steps": state.max_steps, "epoch": state.epoch, **values}))
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, state.global_step)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Leave the time of an evaluation out of the speed."""
        self._since = time.perf_counter()

    on_save = on_evaluate

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write out what TensorBoard reads."""
        if self._events is not None:
            self._events.close()

    def _speed(self, logs: dict[str, Any], state: TrainerState) -> dict[str, float]:
        """Tokens a second since the last report."""
        now, tokens = time.perf_counter(), int(logs.get("num_tokens") or state.num_input_tokens_seen)
        speed = (tokens - self._tokens) / (now - self._since) if tokens > self._tokens else None
        self._since, self._tokens = now, tokens
        return {} if speed is None else {"tokens_per_second": speed}

    def _clipping(self, values: dict[str, float]) -> dict[str, float]:
        """By how much the gradients were scaled down: 1 when they were not."""
        norm = values.get("grad_clip/norm")
        if norm is None or not self._max_grad_norm:
            return {}
        return {"grad_clip/factor": min(1.0, self._max_grad_norm / norm) if norm else 1.0}


def _name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else name


def _check(values: dict[str, float], step: int) -> None:
    broken = next((name for name in ("train/loss", "eval/loss") if not math.isfinite(values.get(name, 0.0))), None)
    if broken:
        raise Diverged(f"{broken} is no longer a number at step {step}: lower learning_rate, or look at the data")
