"""De-identification of JSON lines and plain lines: what has nothing personal in it comes back as the very bytes that came."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from domain.deid.clean import Cleaned, clean, clean_those_that_need_it
from domain.deid.doubt import doubtful
from domain.deid.find import Detectors
from domain.deid.leaves import Leaves, field_of, selector
from domain.deid.operators import Making
from domain.deid.policy import CompiledPolicy

_NOTHING: Mapping[Any, Any] = MappingProxyType({})
"""Of the many lines in which nothing was found; one for all."""


class Line(Struct, frozen=True, kw_only=True):
    """One line afterwards: without its newline, and what was found in which field."""

    data: bytes
    """The bytes that came, where nothing was found."""
    counts: Mapping[tuple[str, str], int] = _NOTHING
    """How many values by type and field, such as `("CN_MOBILE", "messages[].content")`."""
    examples: Mapping[str, str] = _NOTHING
    """Where asked for: of each type one value, masked."""
    wrong: str | None = None
    """Why the line could not be read; then it must not be passed on as clean."""

    @property
    def changed(self) -> bool:
        """Whether anything was replaced or found."""
        return bool(self.counts)


def clean_json_lines(
    detectors: Detectors, policy: CompiledPolicy, lines: Sequence[bytes], made: Making, *, examples: bool = False
) -> list[Line]:
    """De-identify the string leaves of JSON values, one a line, all lines in one pass."""
    done = [Line(data=line) for line in lines]
    places = doubtful(detectors.scanner, lines) if not policy.rules else range(len(lines))
    gathered = Leaves([lines[place] for place in places], selector(policy))
    texts, keys = [leaf[0] for leaf in gathered.leaves], [leaf[1] for leaf in gathered.leaves]
    for index, reason in gathered.wrong.items():
        done[places[index]] = Line(data=lines[places[index]], wrong=reason or None)
    found: dict[int, list[tuple[int, Cleaned]]] = {}
    for place, cleaned in clean_those_that_need_it(detectors, policy, texts, made, keys):
        found.setdefault(bisect_right(gathered.ends, place), []).append((place, cleaned))
    for index, changes in found.items():
        counts: dict[tuple[str, str], int] = {}
        shown: dict[str, str] = {}
        for place, cleaned in changes:
            _, _, holder, at, path = gathered.leaves[place]
            _count(counts, "" if holder is gathered.boxes[index] else field_of(path, at), cleaned)
            holder[at] = cleaned.text
            if examples:
                shown.update(_examples(cleaned))
        done[places[index]] = Line(data=msgspec.json.encode(gathered.boxes[index][0]), counts=counts, examples=shown)
    return done


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


def _count(counts: dict[tuple[str, str], int], field: str, cleaned: Cleaned) -> None:
    for change in cleaned.changes:
        counts[change.type, field] = counts.get((change.type, field), 0) + 1


def _examples(cleaned: Cleaned) -> dict[str, str]:
    return {change.type: f"{change.original[0]}{'*' * min(12, max(3, len(change.original) - 1))}" for change in cleaned.changes}
