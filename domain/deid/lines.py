"""De-identification of JSON lines and plain lines: what has nothing personal in it comes back as the very bytes that came."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domain.deid.clean import Cleaned, clean
from domain.deid.find import Detectors
from domain.deid.operators import Making
from domain.deid.policy import CompiledPolicy
from domain.deid.words import named_by

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is no training sample."""
DEEPEST = 128
"""Levels of nesting in a line."""
_PHONE_LIKE = range(10**9, 10**19)
"""Integers that may be a telephone or card number that somebody wrote without quotes."""


class Line(Struct, frozen=True, kw_only=True):
    """One line afterwards: without its newline, and what was found in which field."""

    data: bytes
    """The bytes that came, where nothing was found."""
    counts: dict[tuple[str, str], int] = {}
    """How many values by type and field, such as `("CN_MOBILE", "messages[].content")`."""
    examples: dict[str, str] = {}
    """Where asked for: of each type one value, masked."""
    wrong: str | None = None
    """Why the line could not be read; then it must not be passed on as clean."""

    @property
    def changed(self) -> bool:
        """Whether anything was replaced or found."""
        return bool(self.counts)


class _Leaf(Struct):
    """A string, or a number that may be one, and where it sits."""

    line: int
    holder: Any
    place: Any
    key: str
    field: str
    text: str


def clean_json_lines(
    detectors: Detectors, policy: CompiledPolicy, lines: Sequence[bytes], made: Making, *, examples: bool = False
) -> list[Line]:
    """De-identify the string leaves of JSON values, one a line, all lines in one pass."""
    read = [[_read(line)] for line in lines]  # each in a box, since a line may be nothing but a string
    selected = _selector(policy)
    leaves = [leaf for index, box in enumerate(read) for leaf in _leaves(index, box, 0, "", "", selected)]
    cleaned = clean(detectors, policy, [leaf.text for leaf in leaves], made, [leaf.key for leaf in leaves])
    counts: dict[int, dict[tuple[str, str], int]] = {}
    shown: dict[int, dict[str, str]] = {}
    for leaf, each in zip(leaves, cleaned, strict=True):
        if each.changes:
            _count(counts.setdefault(leaf.line, {}), leaf.field, each)
            leaf.holder[leaf.place] = each.text
            if examples:
                shown.setdefault(leaf.line, {}).update(_examples(each))
    return [_line(line, box[0], counts.get(index), shown.get(index, {})) for index, (line, box) in enumerate(zip(lines, read, strict=True))]


def clean_text_lines(
    detectors: Detectors, policy: CompiledPolicy, lines: Sequence[bytes], made: Making, *, examples: bool = False
) -> list[Line]:
    """De-identify plain lines of UTF-8."""
    texts, wrong = [], {}
    for index, line in enumerate(lines):
        try:
            texts.append(line.decode())
        except UnicodeDecodeError as problem:
            texts.append("")
            wrong[index] = f"byte {problem.start} is not UTF-8"
    result = []
    for index, (line, each) in enumerate(zip(lines, clean(detectors, policy, texts, made), strict=True)):
        counts: dict[tuple[str, str], int] = {}
        _count(counts, "", each)
        data = each.text.encode() if each.changes else line
        result.append(Line(data=data, counts=counts, examples=_examples(each) if examples else {}, wrong=wrong.get(index)))
    return result


class _Wrong(Struct, frozen=True):
    reason: str


def _read(line: bytes) -> Any:  # noqa: ANN401 - any JSON
    if len(line) > LONGEST_LINE:
        return _Wrong(f"it has {len(line):,} bytes; at most {LONGEST_LINE:,} are read")
    try:
        value = msgspec.json.decode(line) if line.strip() else None
    except UnicodeDecodeError as problem:
        return _Wrong(f"byte {_first_wrong_byte(line, problem)} is not UTF-8")
    except (msgspec.DecodeError, RecursionError) as problem:
        return _Wrong(f"it is not JSON ({problem})")
    return _checked(line, value)


def _first_wrong_byte(line: bytes, problem: UnicodeDecodeError) -> int:
    """Return where in the line it is; the reader counts from the string's beginning."""
    try:
        line.decode()
    except UnicodeDecodeError as of_line:
        return of_line.start
    return problem.start


def _checked(line: bytes, value: Any) -> Any:  # noqa: ANN401 - as above
    names = _names(value, DEEPEST)
    if names is None:
        return _Wrong(f"it is nested deeper than {DEEPEST} levels")
    if line.count(b'":') != names and _repeats_a_name(line):
        return _Wrong("an object in it has one name twice; only one of the two would be looked at")
    return value


def _names(value: Any, deeper: int) -> int | None:  # noqa: ANN401 - any JSON
    """Return how many names the objects have; None when they are nested deeper than so many levels."""
    if not isinstance(value, dict | list):
        return 0
    total = len(value) if isinstance(value, dict) else 0
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            inner = _names(each, deeper - 1) if deeper else None
            if inner is None:
                return None
            total += inner
    return total


def _repeats_a_name(line: bytes) -> bool:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _RepeatedNameError

    try:
        json.loads(line, object_pairs_hook=unique)
    except _RepeatedNameError:
        return True
    return False


class _RepeatedNameError(Exception):
    """An object has one name twice."""


def _leaves(line: int, holder: Any, place: Any, key: str, field: str, selected: Any) -> Iterator[_Leaf]:  # noqa: ANN401 - a walk's state
    value = holder[place]
    if isinstance(value, str):
        if value and (selected is None or selected(field)):
            yield _Leaf(line, holder, place, key, field, value)
    elif isinstance(value, dict):
        for name in value:
            yield from _leaves(line, value, name, name, f"{field}.{name}" if field else name, selected)
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _leaves(line, value, index, key, f"{field}[]", selected)
    elif _may_be_personal(value, key) and (selected is None or selected(field)):
        yield _Leaf(line, holder, place, key, field, str(value))


def _may_be_personal(value: Any, key: str) -> bool:  # noqa: ANN401 - any JSON
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and (value in _PHONE_LIKE or bool(named_by(key)))) or (
        isinstance(value, float) and "GPS" in named_by(key)
    )


def _selector(policy: CompiledPolicy) -> Any:  # noqa: ANN401 - a function or None
    """Return what says whether a field is looked at, or None where all are."""
    include = [_selecting(each) for each in policy.policy.json.include]
    exclude = [_selecting(each) for each in policy.policy.json.exclude]
    if not include and not exclude:
        return None
    return lambda field: (
        (not include or any(each.fullmatch(field) for each in include)) and not any(each.fullmatch(field) for each in exclude)
    )


def _selecting(path: str) -> re.Pattern[str]:
    """Return the pattern of a path such as `$.messages[*].content` or `$..sha256`; all that lies below it is meant too."""
    parts = re.split(r"(\.\.|\[\*\])", path.removeprefix("$").removeprefix(".") if not path.startswith("$..") else path[1:])
    written = "".join(r"(?:.*\.)?" if part == ".." else r"\[\]" if part == "[*]" else re.escape(part) for part in parts)
    return re.compile(written + r"(?:[.\[].*)?")


def _count(counts: dict[tuple[str, str], int], field: str, cleaned: Cleaned) -> None:
    for change in cleaned.changes:
        counts[change.type, field] = counts.get((change.type, field), 0) + 1


def _examples(cleaned: Cleaned) -> dict[str, str]:
    return {change.type: f"{change.original[0]}{'*' * min(12, max(3, len(change.original) - 1))}" for change in cleaned.changes}


def _line(line: bytes, value: Any, counts: dict[tuple[str, str], int] | None, examples: dict[str, str]) -> Line:  # noqa: ANN401 - any JSON
    if isinstance(value, _Wrong):
        return Line(data=line, wrong=value.reason)
    if counts is None:
        return Line(data=line)
    return Line(data=msgspec.json.encode(value), counts=counts, examples=examples)
