"""The user's data, line by line: conversations, preferences and plain text, each line judged and named when it cannot be used."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import zstandard

from .keys import BadInput

PLACES = ("{input}", "{instruction}", "{content}", "{query}", "{question}", "{prompt}")
"""Where an `input_template` may want the user's words."""
OF_TOOLS = ("tool_calls", "tool_call_id", "name")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One sample of SFT or LoRA."""

    place: str
    """File and line, for an error that only the tokenizer can find."""
    messages: list[dict[str, Any]]
    """Turns of `role` and `content`; those that call a tool, or answer a call, keep what says so."""
    rank: int | None
    target_modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Preference:
    """One sample of RL: a prompt, the answer that is preferred and the one that is not, where the line has them."""

    prompt: str
    chosen: str
    rejected: str | None
    """None where the line has one answer only, or only answers of one score."""


def read_conversations(path: Path) -> list[Conversation]:
    """Read every conversation of a JSONL file; BadInput names the line that is none."""
    return [_conversation(record, place) for place, record in _records(path)]


def read_preferences(path: Path) -> list[Preference]:
    """Read every prompt of a JSONL file with its answers; BadInput names the line that cannot be used."""
    return [_preference(record, place) for place, record in _records(path)]


def read_texts(path: Path) -> Iterator[str]:
    """Give the documents of a pretraining corpus: `text` of each line of JSONL, or the paragraphs of a .txt, one a line."""
    if ".txt" in path.suffixes[-2:]:
        yield from (_text(line, place, "the text") for place, line in _lines(path))
    else:
        yield from (_text(record.get("text"), place, "text") for place, record in _records(path))


def agreed(conversations: list[Conversation], path: Path) -> tuple[int | None, tuple[str, ...]]:
    """Give the rank and the target modules that the samples of a file ask for; an adapter has one of each, so they must agree."""
    ranks = {each.rank for each in conversations if each.rank is not None}
    modules = {frozenset(each.target_modules) for each in conversations if each.target_modules}
    for name, values in (("rank", ranks), ("target_modules", [sorted(each) for each in modules])):
        if len(values) > 1:
            shown = " and ".join(sorted(map(str, values))[:2])
            raise BadInput(f"{path}: its samples ask for different {name} ({shown}), and an adapter has one: make a file for each")
    return next(iter(ranks), None), tuple(sorted(next(iter(modules), ())))


def _conversation(record: dict[str, Any], place: str) -> Conversation:
    messages = record.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadInput(f"{place}: messages must be a list of objects with role and content")
    template = _text(record.get("input_template") or "", place, "input_template")
    turns = [_turn(message, template, place) for message in messages]
    if not {"user", "assistant"} <= {turn["role"] for turn in turns}:
        raise BadInput(f"{place}: messages needs at least one user turn and one assistant turn")
    if system := _text(record.get("system_prompt") or "", place, "system_prompt"):
        turns = [{"role": "system", "content": system}, *(turn for turn in turns if turn["role"] != "system")]
    return Conversation(place=place, messages=turns, rank=_rank(record, place), target_modules=_modules(record, place))


def _turn(message: dict[str, Any], template: str, place: str) -> dict[str, Any]:
    of_tools = {key: message[key] for key in OF_TOOLS if message.get(key)}
    said = message.get("content")
    content = "" if said is None and "tool_calls" in of_tools else _text(said, place, "content")
    role = str(message.get("role"))
    wanted = next((each for each in PLACES if each in template), None)
    return {"role": role, "content": template.replace(wanted, content) if wanted and role == "user" else content, **of_tools}


def _rank(record: dict[str, Any], place: str) -> int | None:
    rank = record.get("rank")
    if rank is not None and (type(rank) is not int or rank < 1):
        raise BadInput(f"{place}: rank must be a whole number of at least 1, not {rank!r}")
    return rank


def _modules(record: dict[str, Any], place: str) -> tuple[str, ...]:
    modules = record.get("target_modules") or []
    if not isinstance(modules, list) or not all(isinstance(each, str) and each for each in modules):
        raise BadInput(f"{place}: target_modules must be a list of module names, not {modules!r}")
    return tuple(modules)


def _preference(record: dict[str, Any], place: str) -> Preference:
    prompt = _text(record.get("prompt"), place, "prompt")
    if record.get("responses") is not None and record.get("chosen") is None:
        (best, chosen), *others = _ranked(record["responses"], place)
        rejected = others[-1][1] if others and others[-1][0] < best else None
        return Preference(prompt=prompt, chosen=chosen, rejected=rejected)
    pair = {key: _text(record.get(key), place, key) for key in ("chosen", "rejected")}
    return Preference(prompt=prompt, **pair)


def _ranked(responses: object, place: str) -> list[tuple[float, str]]:
    """Order the answers from the highest score to the lowest; equals stay as they stand."""
    if not isinstance(responses, list) or not responses or not all(isinstance(each, dict) for each in responses):
        raise BadInput(f"{place}: responses must be a list of objects with content and score, or give chosen and rejected")
    scored = [(_score(each.get("score"), place), _text(each.get("content"), place, "content")) for each in responses]
    return sorted(scored, key=lambda pair: pair[0], reverse=True)


def _score(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{place}: score must be a number, not {value!r}")
    return float(value)


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
    """Give the lines that are not blank, each with its place for the reader of an error."""
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
    except (OSError, EOFError, zstandard.ZstdError) as problem:
        raise BadInput(f"dataset {path} cannot be read: {problem}") from None


def _opened(path: Path) -> BufferedReader:
    """Open a data file as the bytes that were meant: `.gz` and `.zst` are unpacked as they are read."""
    if path.suffix == ".gz":
        return BufferedReader(gzip.open(path))
    file = path.open("rb")
    if path.suffix == ".zst":
        return BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
    return file


def _text(text: object, place: str, field: str) -> str:
    if not isinstance(text, str):
        raise BadInput(f"{place}: {field} must be text")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadInput(f"{place}: {field} holds half of a surrogate pair, which is no character")
    return text
