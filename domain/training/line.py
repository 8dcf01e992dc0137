"""One line of a data file, read the careful way: as bytes, as text, as JSON, and as a sample; what is wrong is said with its column."""

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from domain.training.lora import Lora
from domain.training.pretrain import Pretrain
from domain.training.problem import Problem, errors, kind, shown
from domain.training.rl import Rl
from domain.training.rule import Rule
from domain.training.sample import MAX_DEPTH, Facts, Kind
from domain.training.sft import Sft
from domain.training.task_type import TaskType

KIND: dict[TaskType, Kind] = {TaskType.sft: Sft(), TaskType.rl: Rl(), TaskType.lora: Lora(), TaskType.pretrain: Pretrain()}
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What no text is meant to hold; tabs and line breaks may stay."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_REASONS = {
    "Expecting property name enclosed in double quotes": ("此处应是双引号括起的键", "a key in double quotes is expected"),
    "Illegal trailing comma before end of object": ("末尾多了一个逗号", "there is a comma too many at the end"),
    "Expecting ':' delimiter": ("键后缺少冒号", "a colon is expected after the key"),
    "Expecting ',' delimiter": ("此处缺少逗号，或引号没有转义", "a comma is missing here, or a quote is not escaped"),
    "Expecting value": ("此处应有一个值", "a value is expected"),
    "Unterminated string starting at": ("从此处开始的字符串没有结束", "the string that begins here does not end"),
    "Invalid \\escape": ("反斜杠转义无效，反斜杠本身要写成 \\\\", "the backslash escape is not valid; a backslash itself is written \\\\"),
    "Invalid \\uXXXX escape": ("\\u 之后应有四位十六进制数", "four hexadecimal digits are expected after \\u"),
}
"""What Python's reader says, in words."""


class Judged(Struct):
    """What the careful way found."""

    problems: list[Problem]
    facts: Facts | None
    """None where the sample cannot be used."""


def judge_line(line: bytes, task: TaskType) -> Judged:
    """Judge a line of JSON, without its line break."""
    record, problems = _read(line)
    if problems and record is None:
        return Judged(problems, None)
    if not isinstance(record, dict):
        return Judged([Problem(rule=Rule.not_an_object, facts=kind("kind", type(record)))], None)
    problems += KIND[task].judge(record)
    if errors(problems):
        other = task_type_of_sample(record)
        if other is not None and not _alike(other, task):
            problems = [Problem(rule=Rule.other_task, facts={"found": other, "wanted": task})]
        return Judged(problems, None)
    facts = KIND[task].facts(record)
    problems += _control(facts.text, task)
    return Judged(problems, None if errors(problems) else facts)


def judge_text(line: str, task: TaskType) -> Judged:
    """Judge a line of a .txt file, which is a document as it stands."""
    problems = list(_control(line, task))
    return Judged(problems, None if errors(problems) else Facts(text=line, turns=1))


def undecodable(line: bytes) -> Problem:
    """Say where a line is not UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        return Problem(rule=Rule.bad_utf8, column=column, facts={"byte": f"{line[error.start]:02X}"})
    raise AssertionError("the line is UTF-8")


def task_type_of_sample(record: object) -> TaskType | None:
    """Guess what a sample is for by the fields that only one kind has."""
    if not isinstance(record, dict):
        return None
    if "messages" in record:
        return TaskType.lora if "rank" in record or "target_modules" in record else TaskType.sft
    if "prompt" in record and {"chosen", "rejected", "responses"} & record.keys():
        return TaskType.rl
    return TaskType.pretrain if isinstance(record.get("text"), str) else None


def _alike(found: TaskType, wanted: TaskType) -> bool:
    chats = {TaskType.sft, TaskType.lora}
    return found is wanted or {found, wanted} <= chats


def _read(line: bytes) -> tuple[Any, list[Problem]]:
    """Return the line's value, or what is wrong with it."""
    if b"\0" in line:
        column = len(line[: line.index(b"\0")].decode(errors="replace")) + 1
        return None, [Problem(rule=Rule.nul, column=column)]
    try:
        value, problems = _parse(line.decode())
    except UnicodeDecodeError:
        return None, [undecodable(line)]
    except RecursionError:
        return None, [_too_deep()]
    return (None if problems else value), problems


def _parse(text: str) -> tuple[Any, list[Problem]]:
    notes = _Notes()
    try:
        value = json.loads(text, object_pairs_hook=notes.pairs, parse_constant=notes.constant, parse_float=notes.number)
    except json.JSONDecodeError as error:
        return None, [_syntax(error, text)]
    except ValueError:  # an integer of thousands of digits, which Python does not convert
        return None, [Problem(rule=Rule.nan_value, facts={"value": "…"})]
    return value, [_too_deep()] if _depth(value) > MAX_DEPTH else [*notes.problems, *_surrogates(value)]


class _Notes:
    """What Python's JSON reader passes over in silence."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.problems.append(Problem(rule=Rule.duplicate_key, facts={"key": shown(key)}))
                seen.add(key)
        return found

    def constant(self, word: str) -> None:
        self.problems.append(Problem(rule=Rule.nan_value, facts={"value": word}))

    def number(self, digits: str) -> float:
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            self.problems.append(Problem(rule=Rule.nan_value, facts={"value": shown(digits)}))
        return number


def _syntax(error: json.JSONDecodeError, text: str) -> Problem:
    if error.msg.startswith("Extra data"):
        return Problem(rule=Rule.two_values, column=error.colno)
    if error.msg.startswith("Invalid control character"):
        return Problem(rule=Rule.raw_control, column=error.colno, facts={"character": _named(text[error.pos : error.pos + 1])})
    zh, en = next((words for begin, words in _REASONS.items() if error.msg.startswith(begin)), (error.msg, error.msg))
    if error.pos >= len(text.rstrip()):
        zh, en = "这一行在此处中断", "the line breaks off here"
    return Problem(rule=Rule.broken_json, column=error.colno, facts={"reason_zh": zh, "reason_en": en})


def _too_deep() -> Problem:
    return Problem(rule=Rule.too_deep, facts={"limit": str(MAX_DEPTH)})


def _depth(value: object) -> int:
    """How many collections lie in each other, without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _surrogates(value: object) -> Iterator[Problem]:
    """Find halves of surrogate pairs in texts and keys."""
    if isinstance(value, str):
        if not value.isascii() and (found := _SURROGATE.search(value)):
            yield Problem(rule=Rule.lone_surrogate, facts={"character": _named(found[0])})
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _surrogates(key)
            yield from _surrogates(each)
    elif isinstance(value, list):
        for each in value:
            yield from _surrogates(each)


def _control(text: str, task: TaskType) -> Iterator[Problem]:
    if found := CONTROL.search(text):
        if found[0] == "\0":
            yield Problem(rule=Rule.nul)
        else:
            rule = Rule.control_character if task is TaskType.pretrain else Rule.control_in_text
            yield Problem(rule=rule, facts={"character": _named(found[0])})


def _named(character: str) -> str:
    return f"U+{ord(character or chr(0)):04X}"
