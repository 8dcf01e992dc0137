"""De-identification of JSON lines and plain lines: what has nothing personal in it comes back as the very bytes that came."""

import re
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import msgspec
from msgspec import Struct

from domain.deid.clean import Cleaned, clean_those_that_need_it
from domain.deid.doubt import doubtful
from domain.deid.find import Detectors, find_in
from domain.deid.leaves import Leaf, Leaves, field_of, selector
from domain.deid.operators import Making
from domain.deid.policy import CompiledPolicy


class Line(Struct, frozen=True, kw_only=True):
    """What became of a line that does not stay as it came: without its newline, and what was found in which field."""

    data: bytes
    counts: Mapping[tuple[str, str], int] = {}
    """How many values by type and field, such as `("CN_MOBILE", "messages[].content")`; a name that may be personal is `*` there."""
    examples: Mapping[str, str] = {}
    """Where asked for: of each type one value, masked."""
    wrong: str | None = None
    """Why the line could not be read; then it is as it came, and must not be passed on as clean."""


LONGEST_NAME = 64
"""Characters of a field's name; a longer one is a value that somebody made a name."""
_LIKE_A_VALUE = re.compile(r"\d{5}|@")
_PLAIN_NAME = re.compile(r"[A-Za-z_-]{1,48}[0-9]{0,3}")
"""A name in which nothing can be found."""

Lines = dict[int, Line]
"""Those of some lines that do not stay as they came, by their place; of clean data there are none, which is what makes it fast."""


def clean_json_lines(
    detectors: Detectors, policy: CompiledPolicy, lines: Sequence[bytes], made: Making, *, examples: bool = False
) -> Lines:
    """De-identify the string leaves of JSON values, one a line, all lines in one pass.

    The byte order mark that some editors put before a file stays before its line.
    """
    places = doubtful(detectors.scanner, lines) if not policy.rules else range(len(lines))
    if not places:
        return {}
    gathered = Leaves([lines[place].removeprefix(BOM_UTF8) for place in places], selector(policy))
    texts, keys = [leaf[0] for leaf in gathered.leaves], [leaf[1] for leaf in gathered.leaves]
    done = {places[index]: Line(data=lines[places[index]], wrong=reason) for index, reason in gathered.wrong.items()}
    found: dict[int, list[tuple[int, Cleaned]]] = {}
    for place, cleaned in clean_those_that_need_it(detectors, policy, texts, made, keys):
        found.setdefault(bisect_right(gathered.ends, place), []).append((place, cleaned))
    fields = _fields(detectors, policy, gathered, (place for changes in found.values() for place, _ in changes))
    for index, changes in found.items():
        counts: dict[tuple[str, str], int] = {}
        shown: dict[str, str] = {}
        for place, cleaned in changes:
            _, _, holder, at, _ = leaf = gathered.leaves[place]
            _count(counts, "" if holder is gathered.boxes[index] else fields[_field_key(leaf)], cleaned)
            holder[at] = cleaned.text
            if examples:
                shown.update(_examples(cleaned))
        mark = BOM_UTF8 if lines[places[index]].startswith(BOM_UTF8) else b""
        done[places[index]] = Line(data=mark + msgspec.json.encode(gathered.boxes[index][0]), counts=counts, examples=shown)
    return done


def clean_text_lines(
    detectors: Detectors, policy: CompiledPolicy, lines: Sequence[bytes], made: Making, *, examples: bool = False
) -> Lines:
    """De-identify plain lines of UTF-8."""
    texts, done = [], Lines()
    for index, line in enumerate(lines):
        try:
            texts.append(line.decode())
        except UnicodeDecodeError as problem:
            texts.append("")
            done[index] = Line(data=line, wrong=f"byte {problem.start} is not UTF-8")
    for index, cleaned in clean_those_that_need_it(detectors, policy, texts, made):
        counts: dict[tuple[str, str], int] = {}
        _count(counts, "", cleaned)
        done[index] = Line(data=cleaned.text.encode(), counts=counts, examples=_examples(cleaned) if examples else {})
    return done


def _fields(detectors: Detectors, policy: CompiledPolicy, gathered: Leaves, places: Iterable[int]) -> dict[tuple[str, str | None], str]:
    """Return what each of these leaves' fields is called where people read it: a name that may itself be personal is `*`."""
    leaves = {_field_key(leaf): leaf for leaf in map(gathered.leaves.__getitem__, places)}
    ways = {key: gathered.names_of(leaf) for key, leaf in leaves.items()}
    names = {name for way in ways.values() for name in way if name is not None}
    odd = [name for name in sorted(names) if policy.rules or not _PLAIN_NAME.fullmatch(name)]
    if not odd:
        return {key: field_of(leaf[4], leaf[3]) for key, leaf in leaves.items()}
    hidden = {name for name in odd if len(name) > LONGEST_NAME or _LIKE_A_VALUE.search(name)}
    hidden.update(odd[index] for index, _ in find_in(detectors, odd, None, policy.wanted, policy.rules))
    return {
        key: reduce(lambda path, name: field_of(path, 0 if name is None else "*" if name in hidden else name), way, "")
        for key, way in ways.items()
    }


def _field_key(leaf: Leaf) -> tuple[str, str | None]:
    return leaf[4], leaf[3] if type(leaf[3]) is str else None


def _count(counts: dict[tuple[str, str], int], field: str, cleaned: Cleaned) -> None:
    for change in cleaned.changes:
        counts[change.type, field] = counts.get((change.type, field), 0) + 1


def _examples(cleaned: Cleaned) -> dict[str, str]:
    return {change.type: f"{change.original[0]}{'*' * min(12, max(3, len(change.original) - 1))}" for change in cleaned.changes}
