"""The strings of JSON lines, all in one list, each with where it sits: the hot path of whole data sets, so it is plain and flat."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from domain.deid.policy import CompiledPolicy
from domain.deid.words import named_by

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is no training sample."""
DEEPEST = 128
"""Levels of nesting in a line."""
_PHONE_LIKE = range(10**9, 10**19)
"""Integers that may be a telephone or card number that somebody wrote without quotes."""
_NAMES = re.compile(rb'"[ \t\r\n]*:')
"""Behind every name, and now and then inside of a text: there are at least as many as names."""

Selector = Callable[[str], bool] | None
Leaf = tuple[str, str, Any, Any, str]
"""Its text, the name of the object's field it belongs to, its holder, its place there, and the path of the holder."""


class Leaves:
    """The leaves of some lines. `boxes` holds each line's value in a list of one, since a line may be nothing but a string."""

    def __init__(self, lines: Sequence[bytes], selected: Selector) -> None:
        self.leaves: list[Leaf] = []
        self.ends: list[int] = []
        """How many leaves there are up to the end of each line."""
        self.boxes: list[list[Any]] = []
        self.wrong: dict[int, str] = {}
        """Why a line could not be read."""
        self._above: dict[str, tuple[str, str]] = {}
        """Of each path that ends with a name: the path before it, and that name, which may have dots and brackets in it."""
        self._selected = selected
        self._box: list[Any] = []
        decode = msgspec.json.Decoder().decode
        for index, line in enumerate(lines):
            box = self._box = list[Any]([None])
            if reason := self._read(line, box, decode):
                self.wrong[index] = reason
            self.boxes.append(box)
            self.ends.append(len(self.leaves))

    def _read(self, line: bytes, box: list[Any], decode: Callable[[bytes], Any]) -> str | None:
        """Read one line into its box and gather its leaves; return why not."""
        before = len(self.leaves)
        reason: str | None
        try:
            value = box[0] = decode(line) if len(line) <= LONGEST_LINE else None
            names = self._gather(value if type(value) is dict else box, "", "", DEEPEST)
        except UnicodeDecodeError as problem:
            reason = f"byte {_first_wrong_byte(line, problem)} is not UTF-8"
        except (msgspec.DecodeError, RecursionError) as problem:
            reason = f"it is not JSON ({problem})" if line.strip() else None
        except _TooDeepError:
            reason = f"it is nested deeper than {DEEPEST} levels"
        else:
            if len(line) > LONGEST_LINE:
                reason = f"it has {len(line):,} bytes; at most {LONGEST_LINE:,} are read"
            elif len(_NAMES.findall(line)) != names and _repeats_a_name(line):
                reason = "an object in it has one name twice; only one of the two would be looked at"
            else:
                return None
        del self.leaves[before:]
        return reason

    def _gather(self, value: Any, key: str, path: str, deeper: int) -> int:  # noqa: ANN401 - any JSON object or list
        """Note the leaves below a value; return how many names its objects have."""
        if deeper < 0:
            raise _TooDeepError
        names, selected = (len(value) if type(value) is dict else 0), self._selected
        for place, each in value.items() if type(value) is dict else enumerate(value):
            kind = type(each)
            named = place if type(place) is str else key
            if kind is str:
                if each and (selected is None or selected(field_of(path, place))):
                    self.leaves.append((each, named, value, place, path))
            elif kind is dict or kind is list:
                below = "" if value is self._box else field_of(path, place)
                if type(place) is str and below not in self._above:
                    self._above[below] = path, place
                names += self._gather(each, named, below, deeper - 1)
            elif (kind is int or kind is float) and _may_be_personal(each, named) and (selected is None or selected(field_of(path, place))):
                self.leaves.append((str(each), named, value, place, path))
        return names

    def names_of(self, leaf: Leaf) -> tuple[str | None, ...]:
        """Return the names that lead to a leaf, from the outermost on; None stands for a list."""
        _, _, _, place, path = leaf
        names: list[str | None] = [place if type(place) is str else None]
        while path:
            path, name = self._above.get(path) or (path.removesuffix("[]"), None)
            names.append(name)
        return tuple(reversed(names))


def field_of(path: str, place: str | int) -> str:
    """Return the field that a leaf is, such as `messages[].content`; a line that is nothing but a string is `[]`."""
    if type(place) is str:
        return f"{path}.{place}" if path else place
    return f"{path}[]"


def _may_be_personal(value: float, key: str) -> bool:
    if type(value) is float:
        return "GPS" in named_by(key)
    return value in _PHONE_LIKE or bool(named_by(key))


def _first_wrong_byte(line: bytes, problem: UnicodeDecodeError) -> int:
    """Return where in the line it is; the reader counts from the string's beginning."""
    try:
        line.decode()
    except UnicodeDecodeError as of_line:
        return of_line.start
    return problem.start


class _TooDeepError(Exception):
    """It is nested deeper than any honest sample."""


class _RepeatedNameError(Exception):
    """An object has one name twice."""


def _repeats_a_name(line: bytes) -> bool:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _RepeatedNameError

    try:
        json.loads(line, object_pairs_hook=unique)
    except _RepeatedNameError:
        return True
    return False


def selector(policy: CompiledPolicy) -> Selector:
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
