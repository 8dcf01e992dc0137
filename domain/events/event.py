"""One line of the record: who did what, when, to which thing, from where, with what outcome."""

import re
from datetime import datetime
from typing import Any

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True):
    """One committed change. Its place in the record is `(xid, id)`: a reader that goes on from there skips nothing.

    Ids alone are given out before the commit, so a later id can be visible before an earlier one; see `infra/db/events.py`.
    """

    id: int
    xid: int
    """The transaction that wrote it (0 on SQLite, where writers come one at a time)."""
    at: datetime
    actor: str
    origin: str | None = None
    kind: str
    """`<noun>.<what happened>`, such as `run.launched`."""
    subject: str
    """Id of the thing that changed."""
    project_id: str | None = None
    data: dict[str, Any] = {}
    """What changed, before and after where that matters."""

    @property
    def place(self) -> "Place":
        """Where it stands in the record."""
        return Place(self.xid, self.id)


class Place(Struct, frozen=True, order=True):
    """A position in the record; as text `<xid>.<id>`, the `Last-Event-ID` of the event stream."""

    xid: int = 0
    id: int = 0

    def __str__(self) -> str:
        """Write it as a follower sends it back."""
        return f"{self.xid}.{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what `str` wrote; ValueError for anything else."""
        if not re.fullmatch(r"[0-9]{1,18}\.[0-9]{1,18}", text):
            raise ValueError(text)
        xid, _, number = text.partition(".")
        return cls(int(xid), int(number))
