"""What the record needs from the world: append, and read on from a place."""

from typing import Any, Protocol

from domain.events.event import Event, Place


class Events(Protocol):
    """The record of every change."""

    def add(self, kind: str, subject: str, project_id: str | None, data: dict[str, Any]) -> None:
        """Append one event with the transaction's time, actor and origin."""
        ...

    def after(self, place: Place, limit: int, project_id: str | None = None) -> list[Event]:
        """Committed events behind `place`, in order; none that a still open transaction could precede."""
        ...

    def newest(self) -> Place:
        """The place of the last event that `after` would show."""
        ...


class HasEvents(Protocol):
    """A transaction in which events can be recorded."""

    @property
    def events(self) -> Events:
        """The record."""
        ...
