"""What a training will take, reckoned from what is known before it starts: steps, memory, disk. Estimates, with their formulas shown."""

import re
from math import ceil, prod
from typing import Any

from msgspec import Struct

from domain.training.fields import FIELDS, count_in, length_of
from domain.training.report import Report
from domain.training.task_type import TaskType

GB = 10**9
VOCABULARY = 150_000
"""Tokens a model knows; of today's models, within a factor of two."""
BYTES_FULL = 16
"""Per parameter of a full training with AdamW: weights and gradients in 2 bytes, master weights and two moments in 4 each."""
BYTES_CHECKPOINT = 14
"""Per parameter in a checkpoint: weights in 2 bytes, master weights and two moments in 4 each."""
DEFAULT_BATCH, DEFAULT_LENGTH, DEFAULT_RANK = 1, 2048, 8

MOST = 2**63 - 1
"""No answer holds a larger number."""

_SIZE = re.compile(r"(?<![\w.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,4})?)([bm])(?![a-z0-9])")


class Batch(Struct, frozen=True, kw_only=True):
    """How many samples one step takes."""

    per_device: int | None
    data_parallel: int
    accumulation: int
    samples: int | None
    """None where the config does not say."""


class Steps(Struct, frozen=True, kw_only=True):
    """How many steps the training takes."""

    per_epoch: int
    total: int | None
    """None where the number of epochs is not said."""


class Bytes(Struct, frozen=True, kw_only=True):
    """A number of bytes, and how it was reckoned."""

    bytes: int
    formula: str


class Estimates(Struct, frozen=True, kw_only=True):
    """None of it is measured; what cannot be reckoned is null."""

    samples: int | None = None
    tokens_per_epoch: int | None = None
    batch: Batch
    steps: Steps | None = None
    parameters: int | None = None
    """Of the model, by its name."""
    gpu_memory: Bytes | None = None
    """Per GPU."""
    checkpoints: Bytes | None = None
    """All that are kept at once."""


def estimate(config: dict[str, Any], task: TaskType, model: str | None, reports: list[Report], gpus: int) -> Estimates:
    """Reckon what can be."""
    batch = batch_of(config, task, gpus)
    samples = sum(report.sound for report in reports) if reports else None
    tokens = _tokens(reports)
    parameters = parameters_of(model)
    return Estimates(
        samples=samples,
        tokens_per_epoch=tokens,
        batch=batch,
        steps=_steps(config, task, batch, samples, tokens),
        parameters=parameters,
        gpu_memory=_gpu_memory(config, task, parameters, batch) if parameters else None,
        checkpoints=_checkpoints(config, task, parameters) if parameters else None,
    )


def parameters_of(model: str | None) -> int | None:
    """Read a model's size from its name: `qwen2.5-14b-instruct` has 14 billion parameters."""
    found = _SIZE.search((model or "").lower().replace("_", "-").rstrip("/").rpartition("/")[2].replace("-", " "))
    if not found:
        return None
    experts, number, unit = found.groups()
    return int(float(number) * int(experts or 1) * (10**9 if unit == "b" else 10**6))


def batch_of(config: dict[str, Any], task: TaskType, gpus: int) -> Batch:
    """Return the samples per step: what the config says, or per device × data parallel × accumulation."""
    split = prod(count_in(config, key) or 1 for key in ("tensor_parallel_size", "pipeline_parallel_size"))
    ways = max(gpus // split, 1)
    each = count_in(config, "per_device_train_batch_size") or count_in(config, "per_device_batch_size")
    accumulation = count_in(config, "gradient_accumulation_steps") or 1
    named = {TaskType.pretrain: "global_batch_size", TaskType.rl: "rollout_batch_size", TaskType.lora: "train_batch_size"}.get(task)
    samples = count_in(config, named) if named else None
    if samples is None and each is not None:
        samples = min(each * ways * accumulation, MOST)
    return Batch(per_device=each, data_parallel=ways, accumulation=accumulation, samples=samples)


def _tokens(reports: list[Report]) -> int | None:
    total = 0
    for report in reports:
        tokens = report.statistics.tokens
        if tokens is None:
            return None
        total += int(tokens.mean * report.sound)
    return total if reports else None


def _steps(config: dict[str, Any], task: TaskType, batch: Batch, samples: int | None, tokens: int | None) -> Steps | None:
    if not batch.samples or not samples:
        return None
    sequences = samples
    if task is TaskType.pretrain and tokens:
        length = length_of(config, task)[1]
        sequences = ceil(tokens / length) if length else samples
    per_epoch = ceil(sequences / batch.samples)
    if limit := count_in(config, "max_steps"):
        return Steps(per_epoch=per_epoch, total=limit)
    epochs = config.get("num_train_epochs")
    if isinstance(epochs, int | float) and 0 < epochs <= FIELDS["num_train_epochs"].high:
        return Steps(per_epoch=per_epoch, total=ceil(per_epoch * epochs))
    return Steps(per_epoch=per_epoch, total=None)


def _gpu_memory(config: dict[str, Any], task: TaskType, parameters: int, batch: Batch) -> Bytes:
    """Reckon weights, optimizer and activations of one GPU that holds the whole model, with gradient checkpointing."""
    layers, width = _shape(parameters)
    length = length_of(config, task)[1] or DEFAULT_LENGTH
    each = batch.per_device or (max(1, (batch.samples or DEFAULT_BATCH) // batch.data_parallel // batch.accumulation))
    activations = each * length * (2 * layers * width + 34 * width + 6 * VOCABULARY)
    shown = f"{each} × {length:,} tokens × (2 × {layers} × {width:,} + 34 × {width:,} + 6 × {VOCABULARY:,}) bytes"
    if task is TaskType.lora:
        size = 0.5 if config.get("use_4bit") or config.get("bnb_4bit_quant_type") else 1 if config.get("use_8bit") else 2
        adapter = _adapter(config, layers, width)
        held = int(parameters * size) + adapter * BYTES_FULL
        weights = f"{parameters / GB:g}e9 × {size:g} bytes + adapter {adapter:,} × {BYTES_FULL} bytes"
    else:
        also = 4 if task is TaskType.rl else 0  # the reference and the reward model, weights alone
        held = parameters * (BYTES_FULL + also)
        weights = f"{parameters / GB:g}e9 × {BYTES_FULL + also} bytes"
    return Bytes(bytes=min(held + activations, MOST), formula=f"{weights} + {shown}, nothing sharded, gradient checkpointing")


def _checkpoints(config: dict[str, Any], task: TaskType, parameters: int) -> Bytes:
    kept = count_in(config, "save_total_limit") or 3
    if task is TaskType.lora:
        one = _adapter(config, *_shape(parameters)) * BYTES_CHECKPOINT
        return Bytes(
            bytes=min(one * kept, MOST), formula=f"{kept} checkpoints × adapter {one // BYTES_CHECKPOINT:,} × {BYTES_CHECKPOINT} bytes"
        )
    size = parameters * (BYTES_CHECKPOINT * kept + 2)
    return Bytes(
        bytes=min(size, MOST),
        formula=f"{kept} checkpoints × {parameters / GB:g}e9 × {BYTES_CHECKPOINT} bytes + the final model {parameters / GB:g}e9 × 2 bytes",
    )


def _shape(parameters: int) -> tuple[int, int]:
    """Guess layers and width: today's models have 12 × layers × width² parameters and are about 128 times as wide as deep."""
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    return layers, 128 * layers


def _adapter(config: dict[str, Any], layers: int, width: int) -> int:
    """Return an adapter's parameters: two matrices of rank r per module and layer."""
    modules = config.get("peft_target_modules") or config.get("target_modules")
    count = len(modules) if isinstance(modules, list) else 2
    rank = count_in(config, "lora_r") or DEFAULT_RANK
    return 2 * rank * width * layers * count
