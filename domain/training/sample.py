"""What every kind of sample shares: how its fields are looked at, and how a sound one is told fast.

Two ways lead over a data file. The fast one takes many lines at once through a typed reader (`Sift`), and is sure of a line only when all
is plain. Whatever is not plain goes the careful way (`judge`), which says what is wrong and where. Both ways judge alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from domain.training.problem import Problem, kinds
from domain.training.rule import Rule

METADATA: dict[str, type] = {"metadata": dict}
"""What every kind of sample may carry along."""
MAX_DEPTH = 100
"""Nested collections in a sample; more is a mistake, and readers give up at about a thousand."""
LONGEST_KNOWN = 200
"""Bytes of a field's JSON that is remembered."""
MOST_EXTRAS = 32
"""Further fields that the fast way learns; files with more go the careful way."""


class Facts(Struct):
    """What is measured of a sound sample, and what of it must agree within a file."""

    text: str
    """All that is trained on, joined."""
    turns: int
    marks: dict[str, Any] = {}
    """Fields that must agree within a file, where the sample has them."""


class Sifted(Struct):
    """What the fast way found in some lines."""

    texts: list[str]
    turns: list[int]
    odd: set[int]
    """Which of them need the careful way."""
    colons: int
    """How many colons the lines must hold if no key stands twice: one per key, and those inside texts."""
    marks: list[tuple[int, dict[str, Any]]] = []
    """Index and marks of those samples that have some."""


class Kind(Protocol):
    """One kind of sample, and what a training on it gives."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What its trainers report, by the documented names."""
        ...

    @property
    def artifacts(self) -> tuple[str, ...]:
        """What they leave in the output directory."""
        ...

    def line_type(self, extras: tuple[str, ...]) -> type[Struct]:
        """Return the type that reads a plain line with these further fields."""
        ...

    def sift(self, records: Sequence[Any], extras: tuple[str, ...]) -> Sifted:
        """Look at records of that type."""
        ...

    def judge(self, record: dict[str, Any]) -> Iterator[Problem]:
        """Say what is wrong with a sample, whatever it is."""
        ...

    def facts(self, record: dict[str, Any]) -> Facts:
        """Measure a sample without errors."""
        ...


@lru_cache(maxsize=256)
def with_extras(base: type[Struct], extras: tuple[str, ...]) -> type[Struct]:
    """Return a line's type that also reads these fields, whatever they hold."""
    fields = [(f"extra_{index}", msgspec.Raw, msgspec.field(default=None, name=name)) for index, name in enumerate(extras)]
    return msgspec.defstruct(f"{base.__name__}With{len(extras)}", fields, bases=(base,), gc=False)


def further(records: Sequence[Any], extras: tuple[str, ...], types: dict[str, type]) -> tuple[int, set[int]]:
    """Look at the further fields of records made by `with_extras`: the colons they explain, and which records are not plain there."""
    colons, odd = 0, set[int]()
    for index, name in enumerate(extras):
        values = list(map(attrgetter(f"extra_{index}"), records))
        given = [value for value in values if value is not None]
        joined = b" ".join(given)
        colons += len(given)
        if name not in types and _plain_strings(joined, len(given)):
            colons += joined.count(b":")
            continue
        for place, value in enumerate(values):
            if value is not None:
                count = (_colons_known if len(value) <= LONGEST_KNOWN else _colons_in)(bytes(value), types.get(name))
                colons += count or 0
                if count is None:
                    odd.add(place)
    return colons, odd


def _plain_strings(joined: bytes, count: int) -> bool:
    """Whether so many values are strings with nothing escaped or hidden in them: most ids and tags are."""
    try:
        return joined.count(b'"') == 2 * count and joined.startswith(b'"') and b"\\" not in joined and joined.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _colons_in(value: bytes, wanted: type | None) -> int | None:
    """Return the colons that a field's JSON explains; None where the careful way must look."""
    try:
        read = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if wanted is not None and read is not None and not isinstance(read, wanted):
        return None
    if isinstance(read, str):
        return read.count(":")
    return colons_of(read) if isinstance(read, dict | list) else 0


_colons_known = lru_cache(maxsize=4096)(_colons_in)
"""Files say the same again and again."""


def blank(texts: Iterable[Iterable[str]]) -> set[int]:
    """Return which of these hold a text of nothing but blanks."""
    return {index for index, each in enumerate(texts) if any(map(str.isspace, each))}


def colons_of(value: Any, depth: int = 0) -> int:  # noqa: ANN401 - JSON
    """Return the colons that a collection explains: one per key, and those inside texts."""
    if depth >= MAX_DEPTH:
        return -(2**40)  # never what the line holds, so that the careful way looks at it
    colons = 0
    if type(value) is dict:
        colons = len(value)  # a colon inside a key is rare, and only sends its line the careful way
        value = value.values()
    for each in value:
        kind = type(each)
        if kind is str:
            colons += each.count(":")
        elif kind is dict or kind is list:
            colons += colons_of(each, depth + 1)
    return colons


def text_at(record: dict[str, Any], field: str, place: str = "", *, needed: bool = True) -> Iterator[Problem]:
    """Look at a field that must be a text with something in it."""
    where = f"{place}.{field}" if place else field
    value = record.get(field)
    if field not in record:
        if needed:
            yield missing(field, where, str)
    elif not isinstance(value, str):
        yield wrong_kind(where, str, value)
    elif not value.strip():
        yield Problem(rule=Rule.empty_text, place=where, facts={"field": field})


def optional(record: dict[str, Any], fields: dict[str, type]) -> Iterator[Problem]:
    """Look at fields that need not be there; null counts as absent."""
    for field, type_ in fields.items():
        value = record.get(field)
        if value is not None and not isinstance(value, type_):
            yield wrong_kind(field, type_, value)


def missing(field: str, place: str, wanted: Any) -> Problem:  # noqa: ANN401 - a type
    """Say that a field is not there."""
    return Problem(rule=Rule.missing_field, place=place, facts={"field": field} | kinds(wanted, None))


def wrong_kind(place: str, wanted: Any, found: object) -> Problem:  # noqa: ANN401 - a type
    """Say that a value is of another type."""
    return Problem(rule=Rule.wrong_kind, place=place, facts={"field": place.rpartition(".")[2]} | kinds(wanted, found))
