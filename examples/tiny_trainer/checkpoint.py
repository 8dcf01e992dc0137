"""The folders a training leaves behind: each appears under its name only when it is whole, and a checkpoint is enough to go on from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network import ASSISTANT, EMBEDDING, END, HIDDEN, START, USER, VOCABULARY, WINDOW, Weights, fresh_weights
from optimizer import AdamW, Schedule
from recipe import BadInput, Recipe
from tensors import read_tensors, write_tensors

MARKS = {"<|start|>": START, "<|user|>": USER, "<|assistant|>": ASSISTANT, "<|end|>": END}


@dataclass
class Progress:
    """How far a training has come: `step` steps, what they made of the weights, and the history of its metrics."""

    step: int
    weights: Weights
    optimizer: AdamW
    history: list[dict[str, float]]


def save_checkpoint(progress: Progress, recipe: Recipe, schedule: Schedule) -> Path:
    """Write checkpoint-<step> with everything a resume needs."""
    folder = recipe.output_dir / f"checkpoint-{progress.step}"
    optimizer = progress.optimizer
    moments = {f"first.{name}": moment for name, moment in optimizer.first.items()}
    moments |= {f"second.{name}": moment for name, moment in optimizer.second.items()}
    with _whole(folder) as unfinished:
        _write_model(unfinished, progress.weights, recipe)
        write_tensors(unfinished / "optimizer.safetensors", moments)
        write_json(unfinished / "trainer_state.json", _trainer_state(progress, recipe, schedule))
    return folder


def save_model(weights: Weights, recipe: Recipe) -> Path:
    """Write model_final: the trained model and its tokenizer."""
    folder = recipe.output_dir / "model_final"
    with _whole(folder) as unfinished:
        _write_model(unfinished, weights, recipe)
    return folder


def load_checkpoint(folder: Path, weight_decay: float) -> Progress:
    """The training that a checkpoint folder holds; BadInput if it holds none that this trainer can go on from."""
    try:
        weights = read_tensors(folder / "model.safetensors")
        moments = read_tensors(folder / "optimizer.safetensors")
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        first, second = ({name: moments[f"{order}.{name}"] for name in weights} for order in ("first", "second"))
        progress = Progress(int(state["global_step"]), weights, AdamW(first, second, weight_decay), list(state["log_history"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise BadInput(f"resume_from_checkpoint {folder} is not a complete checkpoint: {problem}") from None
    expected = {name: weight.shape for name, weight in fresh_weights(0).items()}
    for held in (weights, first, second):
        if {name: weight.shape for name, weight in held.items()} != expected:
            raise BadInput(f"resume_from_checkpoint {folder} belongs to a model of another shape")
    return progress


def write_json(path: Path, content: object) -> None:
    """Write one JSON document for people and programs to read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, on disk and under its own name only after the block has ended well."""
    unfinished, replaced = (folder.with_name(f"{prefix}-{folder.name}") for prefix in ("tmp", "tmp-replaced"))
    for leftover in (unfinished, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    for path in [*unfinished.iterdir(), unfinished]:
        _sync(path)
    if folder.exists():
        # An earlier attempt got this far too; a folder cannot be renamed onto one that is not empty.
        folder.rename(replaced)
    unfinished.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_model(folder: Path, weights: Weights, recipe: Recipe) -> None:
    write_tensors(folder / "model.safetensors", weights)
    write_json(
        folder / "config.json",
        {
            "_name_or_path": recipe.model_name,
            "architectures": ["ByteMlpForCausalLM"],
            "model_type": "byte_mlp",
            "vocab_size": VOCABULARY,
            "window_size": WINDOW,
            "embedding_size": EMBEDDING,
            "hidden_size": HIDDEN,
            "bos_token_id": START,
            "eos_token_id": END,
            "torch_dtype": "float32",
        },
    )
    write_json(folder / "tokenizer.json", _tokenizer())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|start|>",
            "eos_token": "<|end|>",
            "model_max_length": recipe.sequence_length,
        },
    )


def _tokenizer() -> dict[str, Any]:
    """A byte-level BPE without merges, in the format of the `tokenizers` library: every byte is a token of its own."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": mark, **special} for mark, index in MARKS.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": _byte_letters() | MARKS, "merges": []},
    }


def _byte_letters() -> dict[str, int]:
    """The letter by which byte-level BPE writes each byte: itself if printable in Latin-1, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte if byte in printable else 0x100 + others.index(byte)): byte for byte in range(256)}


def _trainer_state(progress: Progress, recipe: Recipe, schedule: Schedule) -> dict[str, Any]:
    """The file of that name as the transformers library writes it, so that its readers can read this one."""
    return {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": progress.step / schedule.steps_per_epoch,
        "eval_steps": schedule.eval_steps,
        "global_step": progress.step,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": progress.history,
        "logging_steps": recipe.logging_steps,
        "max_steps": schedule.steps,
        "num_train_epochs": recipe.num_train_epochs,
        "save_steps": schedule.save_steps,
        "train_batch_size": recipe.batch_size,
        "trial_name": None,
        "trial_params": None,
    }
