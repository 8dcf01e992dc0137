"""What differs between two versions of a config, key by key."""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct


class ValueChange(Struct, frozen=True, kw_only=True):
    """One key whose value is not the same."""

    key: str
    """As a path: `optimizer.betas`."""
    change: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[ValueChange]:
    """Return every key that was added, removed or changed, in the order of the later version; lists are compared as a whole."""
    return list(_changes(before, after, ""))


def _changes(before: dict[str, Any], after: dict[str, Any], way: str) -> Iterator[ValueChange]:
    for key in [*after, *(key for key in before if key not in after)]:
        path = way + key
        if key not in before:
            yield ValueChange(key=path, change="added", after=after[key])
        elif key not in after:
            yield ValueChange(key=path, change="removed", before=before[key])
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from _changes(before[key], after[key], f"{path}.")
        elif (before[key], type(before[key])) != (after[key], type(after[key])):  # 1, 1.0 and true are equal, and not the same
            yield ValueChange(key=path, change="changed", before=before[key], after=after[key])
