"""Bytes on disk as the rules know them: kept under their hash, or pinned as they were found."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct


class Kept(Struct, frozen=True, kw_only=True):
    """Uploaded bytes that lie safely on disk, about to get a name."""

    name: str
    """What the caller called the file; metadata only."""
    sha256: str
    stored_name: str
    """Where they lie, below the training directory."""
    size_bytes: int


class Pinned(Struct, frozen=True, kw_only=True):
    """The very bytes a run was launched with."""

    path: str
    """Below the training directory; content-addressed when the file was uploaded."""
    size_bytes: int
    sha256: str | None = None
    """None for a file that an operator laid there by hand: it is pinned by size and mtime."""
    mtime_ns: int | None = None


class Pin(Struct, frozen=True):
    """Says that some run was launched with these bytes, so that they are kept."""

    stored_name: str


class Blobs(Protocol):
    """The uploaded bytes, as the rows need them."""

    def unneeded(self, stored_names: list[str], before: datetime) -> list[str]:
        """Return those that no file of a dataset, no config and no run needs, and did not just before this moment either."""
        ...


class HasBlobs(Protocol):
    """A transaction that knows which bytes are needed."""

    @property
    def blobs(self) -> Blobs:
        """The bytes."""
        ...
