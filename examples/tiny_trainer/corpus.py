"""The user's data as sequences of bytes: read line by line, a part held out for evaluation, the rest dealt into batches."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from network import ASSISTANT, END, START, USER, WINDOW, Indices
from recipe import BadInput, Recipe

MARKS = {"user": USER, "assistant": ASSISTANT}


@dataclass(frozen=True)
class Example:
    """A sequence of tokens, and which of them the model learns to say."""

    tokens: npt.NDArray[np.uint16]
    learned: npt.NDArray[np.bool_]

    @property
    def windows(self) -> Indices:
        """For every learned token the tokens that stand before it, padded with START."""
        padded = np.concatenate([np.full(WINDOW, START), self.tokens])
        return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:-1][self.learned].astype(np.intp)

    @property
    def targets(self) -> Indices:
        """The learned tokens."""
        return self.tokens[self.learned].astype(np.intp)


@dataclass(frozen=True)
class Corpus:
    """The examples to train on and those held out."""

    training: list[Example]
    held_out: list[Example]
    seed: int

    def batch(self, step: int, size: int) -> list[Example]:
        """What a step, counted from 0, trains on: a function of seed and step alone, so a resumed run needs no random state."""
        per_epoch = -(-len(self.training) // size)
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.training))
        return [self.training[index] for index in order[place * size : (place + 1) * size]]


def joined(examples: list[Example]) -> tuple[Indices, Indices]:
    """The windows and targets of many examples as two arrays."""
    return np.concatenate([each.windows for each in examples]), np.concatenate([each.targets for each in examples])


def read_corpus(recipe: Recipe) -> Corpus:
    """All examples of the recipe's dataset; BadInput names the line that cannot be used."""
    read = _conversations if recipe.task_type == "sft" else _blocks
    examples = [example for example in read(recipe.dataset, recipe.sequence_length) if example.learned.any()]
    if not examples:
        raise BadInput(f"dataset {recipe.dataset} holds nothing to learn from within {recipe.sequence_length} bytes a sequence")
    order = np.random.default_rng(recipe.seed).permutation(len(examples))
    held = max(1, round(len(examples) * recipe.eval_split)) if recipe.eval_split and len(examples) > 1 else 0
    return Corpus([examples[index] for index in order[held:]], [examples[index] for index in order[:held]], recipe.seed)


def _conversations(path: Path, length: int) -> Iterator[Example]:
    """SFT: one example a line; only what the assistant says is learned."""
    for place, record in _records(path):
        tokens: list[int] = list(_bytes(record.get("system_prompt") or "", place, "system_prompt"))
        learned = [False] * len(tokens)
        for role, content in _turns(record, place):
            said = _bytes(content, place, "content")
            tokens += [MARKS[role], *said, END] if role in MARKS else [*said, END]
            learned += [False] * (len(tokens) - len(learned)) if role != "assistant" else [False, *[True] * (len(said) + 1)]
        yield Example(np.array(tokens[:length], np.uint16), np.array(learned[:length], np.bool_))


def _turns(record: dict[str, Any], place: str) -> list[tuple[str, Any]]:
    messages = record.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadInput(f"{place}: messages must be a list of objects with role and content")
    turns = [(str(message.get("role")), message.get("content")) for message in messages]
    if not {"user", "assistant"} <= {role for role, _ in turns}:
        raise BadInput(f"{place}: messages needs at least one user turn and one assistant turn")
    return turns


def _blocks(path: Path, length: int) -> Iterator[Example]:
    """Pretraining: documents are joined, each closed by END, and cut into blocks of the full length; every token is learned."""
    end = np.array([END], np.uint16)
    parts: list[npt.NDArray[np.uint16]] = [np.zeros(0, np.uint16)]
    for place, text in _texts(path):
        parts += [np.frombuffer(_bytes(text, place, "text"), np.uint8).astype(np.uint16), end]
    stream = np.concatenate(parts)
    for start in range(0, len(stream), length):
        tokens = stream[start : start + length]
        yield Example(tokens, np.ones(len(tokens), np.bool_))


def _texts(path: Path) -> Iterator[tuple[str, Any]]:
    if ".txt" not in path.suffixes:
        yield from ((place, record.get("text")) for place, record in _records(path))
    else:
        yield from _lines(path)


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, line in _lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as problem:
            raise BadInput(f"{place}: not valid JSON ({problem.msg} at column {problem.colno})") from None
        except RecursionError:
            raise BadInput(f"{place}: nested too deeply") from None
        if not isinstance(record, dict):
            raise BadInput(f"{place}: must be a JSON object")
        yield place, record


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with its place for the reader of an error."""
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                place = f"{path}, line {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError:
                    raise BadInput(f"{place}: not UTF-8") from None
                if text:
                    yield place, text
    except (OSError, EOFError, zlib.error) as problem:
        raise BadInput(f"dataset {path} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None


def _opened(path: Path) -> BufferedIOBase:
    """The file, unpacked where its name says that it is packed."""
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        try:
            import zstandard  # noqa: PLC0415 - only who trains on .zst needs it
        except ImportError:
            raise BadInput(f"dataset {path} needs zstandard: pip install zstandard, or upload it as .gz") from None
        return BufferedReader(zstandard.open(path, "rb"))
    return path.open("rb")


def _bytes(text: object, place: str, field: str) -> bytes:
    if not isinstance(text, str):
        raise BadInput(f"{place}: {field} must be text")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{place}: {field} holds half of a surrogate pair, which is no character") from None
