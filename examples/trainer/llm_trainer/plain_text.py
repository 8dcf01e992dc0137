"""Pretraining: documents joined end to end, each closed by the end token, and cut into sequences of the full length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments, default_data_collator

from .arguments import arguments
from .corpus import read_texts
from .course import Course
from .keys import BadInput
from .recipe import Recipe
from .voice import say
from .weights import load_model, load_tokenizer

TOKENS_AT_ONCE = 1 << 20
"""Written to disk together, so that a corpus of any size passes through a few MiB of memory."""


class TextTrainer(Course, Trainer):
    """Trains on packed text."""


class Packed(torch.utils.data.Dataset):
    """Tokens in a file, looked at in pieces of the same length."""

    def __init__(self, path: Path, length: int, first: int, last: int) -> None:
        self._tokens = np.memmap(path, dtype=np.uint32, mode="r")
        self._length, self._first, self._last = length, first, last

    def __len__(self) -> int:
        """Return how many sequences there are."""
        return self._last - self._first

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return a sequence; every token of it is learned."""
        at = (self._first + index) * self._length
        tokens = torch.from_numpy(self._tokens[at : at + self._length].astype(np.int64))
        return {"input_ids": tokens, "labels": tokens.clone()}


def build(recipe: Recipe) -> TextTrainer:
    """Pack the corpus, load the model and put a trainer together; BadInput with what is wrong."""
    tokenizer = load_tokenizer(recipe)
    args = TrainingArguments(
        **arguments(recipe, evaluates=recipe.eval_split > 0), include_num_input_tokens_seen="all", average_tokens_across_devices=True
    )
    path = recipe.output_dir / ".tokens"
    with args.main_process_first(desc="packing"):
        if args.process_index == 0:
            _pack(recipe, tokenizer, path)
    total, length = path.stat().st_size // 4, recipe.sequence_length
    if total < 2:  # noqa: PLR2004 - a token to see and one to say
        raise BadInput(f"dataset {recipe.dataset} holds no text to learn from")
    # What does not fill a last sequence is left out, unless it is all there is.
    length = min(length, total)
    pieces = total // length
    held = min(max(1, round(pieces * recipe.eval_split)), pieces - 1) if recipe.eval_split else 0
    say(f"{recipe.dataset.name}: {total} tokens, {pieces - held} sequences of {length} to train on, {held} held out")
    if not held:
        args.eval_strategy = "no"
    return TextTrainer(
        model=load_model(recipe, tokenizer),
        args=args,
        train_dataset=Packed(path, length, 0, pieces - held),
        eval_dataset=Packed(path, length, pieces - held, pieces) if held else None,
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )


def _pack(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        waiting: list[int] = []
        for text in read_texts(recipe.dataset):
            waiting += tokenizer(text, add_special_tokens=False)["input_ids"]
            waiting.append(tokenizer.eos_token_id)
            if len(waiting) >= TOKENS_AT_ONCE:
                np.array(waiting, np.uint32).tofile(file)
                waiting.clear()
        np.array(waiting, np.uint32).tofile(file)
