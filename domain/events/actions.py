"""Recording a change, and reading the record."""

from typing import Any, Protocol

from domain.database import Transaction
from domain.events.event import Event, Place
from domain.events.ports import HasEvents

TOPIC = "events"
"""Followers of the whole record listen here."""


class Tx(Transaction, HasEvents, Protocol):
    """What recording touches."""


def record(tx: Tx, kind: str, subject: str, *, project: str | None = None, **data: Any) -> None:  # noqa: ANN401 - any JSON
    """Write one event in the running transaction and let followers know after the commit."""
    tx.events.add(kind, subject, project, data)
    tx.tell(TOPIC)


def events_after(tx: Tx, place: Place, *, limit: int, project: str | None = None) -> list[Event]:
    """Events behind `place`, oldest first."""
    return tx.events.after(place, limit, project)


def newest_place(tx: Tx) -> Place:
    """Where a follower begins who wants only what is still to come."""
    return tx.events.newest()
