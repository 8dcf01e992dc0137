"""A page is a number and a size; a list that is longer than a page says how long."""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

PAGE_SIZE = 50
"""Items on a page unless the caller asks for another number."""
LARGEST_PAGE = 500
"""Items on a page at most: what one answer may cost."""


class Page(Struct, frozen=True):
    """Which part of a list is wanted; `number` counts from 1."""

    number: int = 1
    size: int = PAGE_SIZE

    @property
    def offset(self) -> int:
        """Items before this page."""
        return (self.number - 1) * self.size


class Listing(Struct, Generic[T], frozen=True):
    """One page of a list, and how many items the whole list has."""

    items: list[T]
    total: int
