"""What each holder of a token has asked of each model, day by day."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from domain.database import Transaction


class Usage(Struct, frozen=True, kw_only=True):
    """What one holder has asked of one model in one day."""

    holder: str
    """Whose token it was; `local` where none is needed."""
    model: str
    """As it was asked for."""
    day: str
    """UTC, `2025-11-20`."""
    requests: int = 0
    failed: int = 0
    """Of these: refused by the model's server, broken off, or left by their caller."""
    prompt_tokens: int = 0
    """As far as the servers said so: a stream says it with `stream_options: {"include_usage": true}`."""
    completion_tokens: int = 0


class Usages(Protocol):
    """The counts."""

    def add(self, counts: Sequence[Usage]) -> None:
        """Add these to what is there."""
        ...

    def since(self, day: str) -> list[Usage]:
        """From this day on, by day, holder and model."""
        ...


class HasUsages(Protocol):
    """A transaction that reaches the counts."""

    @property
    def usages(self) -> Usages:
        """The counts."""
        ...


class Tx(Transaction, HasUsages, Protocol):
    """What these actions may touch."""


def count(tx: Tx, counts: Sequence[Usage]) -> None:
    """Add to what is there; always in the same order, so that two servers do not wait for each other in a ring."""
    tx.usages.add(sorted(counts, key=lambda each: (each.day, each.holder, each.model)))


def usage(tx: Tx, since: str) -> list[Usage]:
    """Return what was asked from this day on, by day, holder and model."""
    return tx.usages.since(since)
