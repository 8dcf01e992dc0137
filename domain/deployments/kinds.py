"""What the value of a flag may be: each kind says what it wants when it is given something else."""

import re
from typing import Protocol

import msgspec
from msgspec import Struct

MOST = 2**31 - 1
DEEPEST = 4
"""Levels of a JSON value: vLLM's own have three at most."""


class Kind(Protocol):
    """What stands behind a flag."""

    def wants(self, value: str) -> str | None:
        """Return what it must be, in words, where `value` is not that."""
        ...


class Whole(Struct, frozen=True):
    """A whole number in decimal."""

    least: int = 0
    most: int = MOST

    def wants(self, value: str) -> str | None:
        """Say the range."""
        fits = re.fullmatch(r"-?[0-9]{1,10}", value) and self.least <= int(value) <= self.most
        return None if fits else f"a whole number from {self.least} to {self.most}"


class Number(Struct, frozen=True):
    """A decimal number."""

    least: float
    most: float

    def wants(self, value: str) -> str | None:
        """Say the range."""
        fits = re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,10})?", value) and self.least <= float(value) <= self.most
        return None if fits else f"a number from {self.least:g} to {self.most:g}"


class Size(Struct, frozen=True):
    """A count that people write short: `4096`, `4k`, `4K` (1024 each), `25.6k`; or one of a few words."""

    words: tuple[str, ...] = ()

    def wants(self, value: str) -> str | None:
        """Say the form."""
        fits = value in self.words or re.fullmatch(r"[1-9][0-9]{0,14}|[0-9]{1,6}(\.[0-9]{1,3})?[kmgKMG]", value)
        return None if fits else " or ".join(["a count such as 4096, 4k or 4K", *self.words])


class OneOf(Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def wants(self, value: str) -> str | None:
        """Name them."""
        return None if value in self.words else f"one of {', '.join(self.words)}"


class Name(Struct, frozen=True):
    """The name of something that vLLM itself brings along: no path, no dotted class."""

    def wants(self, value: str) -> str | None:
        """Say the form."""
        return None if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value) else "a plain name of letters, digits, - and _"


class Json(Struct, frozen=True):
    """A JSON object of plain values, as sampling defaults and limits are."""

    def wants(self, value: str) -> str | None:
        """Say the form."""
        try:
            found = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            found = None
        return None if isinstance(found, dict) and _depth(found) <= DEEPEST else f"a JSON object, at most {DEEPEST} levels deep"


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
