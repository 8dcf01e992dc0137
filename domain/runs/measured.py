"""One line of a trainer's output that carries numbers, read without running it: JSON, or the dict that Hugging Face trainers print.

Names are kept as emitted, but for those a document fixes: `loss` is `train/loss`, `eval_X` is `eval/X`, `train_X` is `train/X`.
One exception: the mean over the whole run that Hugging Face prints last as `train_loss`, beside `train_runtime`, is `train/loss_mean`;
it is no newer loss.
"""

import json
import re
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
from msgspec import Struct

_MAX_BYTES = 64 * 1024
"""A longer line is data, not a report of metrics."""
_MAX_NAME = 200
_MAX_STEP = 2**63 - 1

_METRIC = re.compile(
    r"(?:.*[/_.])?(?:loss|rewards?|accurac(?:y|ies)|acc|perplexity|ppl|kl|kl_divergence|grad_norm|entropy|margins?|rouge[-_]?\w*|bleu[-_]?\d?|f1"
    r"|tokens_per_sec(?:ond)?|tokens/s)(?:[/_](?:mean|std|min|max|avg))?",
    re.IGNORECASE,
)
"""Names that only a measurement bears; `learning_rate` or `kl_coef` alone may be the configuration, printed at the start."""

_KNOWN = {
    "loss": "train/loss",
    "val_loss": "eval/loss",
    "validation_loss": "eval/loss",
    "reward": "reward/mean",
    "reward_mean": "reward/mean",
    "mean_reward": "reward/mean",
    "kl": "kl_divergence",
    "kl_div": "kl_divergence",
    "objective/kl": "kl_divergence",
    "tokens_per_second": "tokens/s",
    "tokens_per_sec": "tokens/s",
    "train_tokens_per_second": "tokens/s",
    # Where in the run a line stands is no metric, and when it was written is known better here.
    **dict.fromkeys(("step", "global_step", "current_steps", "train/global_step", "iteration"), "step"),
    **dict.fromkeys(("total_steps", "max_steps"), "total"),
    **dict.fromkeys(("time", "timestamp", "ts", "_timestamp", "_runtime", "_step"), ""),
}
_PLACES = frozenset(("step", "total", "epoch", "percentage"))
_ROUGE_L = re.compile(r"rouge[-_]?l", re.IGNORECASE)

_PYTHON_WORD = re.compile(r"(?<=[:\s\[(,])(-?)(nan|inf|None|True|False)(?=[,}\]\s])")
_JSON_WORD = {"nan": "NaN", "inf": "Infinity", "None": "null", "True": "true", "False": "false"}
_NUMPY = re.compile(r"\b(?:np\.|numpy\.)?(?:float|int)\d+\(([^()]*)\)")


class Measured(Struct, frozen=True, kw_only=True):
    """The numbers of one line, and where in the training they belong."""

    step: int | None = None
    """Optimizer step, where the line or the bar drawn right after it says so."""
    epoch: float | None = None
    values: dict[str, float]
    """By documented name; NaN and infinities as emitted."""
    line: int | None = None
    """Index of its line in the reading."""
    done: float | None = None
    """The fraction of the training that the line itself claims (`current_steps` of `total_steps`, or `percentage`)."""


def measured(line: bytes, index: int | None = None) -> Measured | None:
    """Return what a line measures; None for any other line."""
    start = line.find(b"{")
    if start < 0 or len(line) > _MAX_BYTES or (start and line[:start].strip() and not line.endswith(b">> ", 0, start)):
        return None
    members, strings = _members(line[start:])
    places, values = _sorted(members, strings=strings)
    step, epoch = _step(places.get("step")), places.get("epoch")
    if step is None and epoch is None and not any(map(_is_metric, values)):
        return None
    return Measured(
        step=step,
        epoch=epoch if epoch is not None and isfinite(epoch) else None,
        values=values,
        line=index,
        done=_claimed(step, places) if len(places) > 1 else None,
    )


def _members(text: bytes) -> tuple[dict[str, Any], bool]:
    """Return the members of an object, and whether it is in Python's notation, in which trainers print numbers as strings."""
    python = text.startswith(b"'", 1)
    if python:
        text = text.replace(b"'", b'"')
    try:
        members = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        members = _lenient(text)
    return members if type(members) is dict else {}, python


def _lenient(text: bytes) -> object:
    """Read what strict JSON refuses: NaN and infinities, and Python's own words."""
    try:
        shown = _NUMPY.sub(r"\1", text.decode())
        return json.loads(_PYTHON_WORD.sub(lambda word: word[1] + _JSON_WORD[word[2]], shown))
    except (ValueError, RecursionError):
        return None


def _sorted(members: dict[str, Any], *, strings: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Part the numbers into where the line stands in the run and what it measures.

    Of two that would share a documented name, the later keeps its own.
    """
    places: dict[str, float] = {}
    values: dict[str, float] = {}
    for name, value in members.items():
        kind = type(value)
        if kind is not float:
            if kind is not int and not (strings and kind is str):
                continue
            try:
                value = float(value)  # noqa: PLW2901 - the same number
            except (ValueError, OverflowError):
                continue
        known = documented(name)
        if known in _PLACES:
            places.setdefault(known, value)
        elif known:
            values[name if known in values else known] = value
    if "train/loss" in values and "train/runtime" in values and "loss" not in members:
        values["train/loss_mean"] = values.pop("train/loss")
    return places, values


def _step(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value <= _MAX_STEP else None


def _claimed(step: int | None, places: dict[str, float]) -> float | None:
    total = places.get("total", 0)
    if step is not None and total > 0:
        return min(1.0, step / total)
    percentage = places.get("percentage")
    return percentage / 100 if percentage is not None and 0 <= percentage <= 100 else None  # noqa: PLR2004 - per cent


@lru_cache(maxsize=4096)
def documented(name: str) -> str:
    """Return the name that the documents give a trainer's well-known metric; any other stays as emitted; empty for what is none."""
    if name in _KNOWN:
        return _KNOWN[name]
    stage, _, rest = name.replace("/", "_", 1).partition("_")
    if stage in ("eval", "train") and rest:
        name = f"{stage}/{'rougeL' if _ROUGE_L.fullmatch(rest) else rest}"
    # A name that a database and a person can read: no NUL, no lone surrogate, not a text.
    return name if len(name) <= _MAX_NAME and name.isprintable() else ""


@lru_cache(maxsize=4096)
def _is_metric(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None
