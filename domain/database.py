"""What every action may ask of the transaction it runs in.

An action is a plain function `(tx, …) -> result`. The database begins, hands it the transaction, commits, and only then
rings the hosts and tells the followers; so no action can call out to the world while it holds locks. An action may be
run again after a deadlock: it touches nothing but `tx`.
"""

from datetime import datetime
from typing import Protocol

from domain.ids import HostName
from domain.messages import Message


class Transaction(Protocol):
    """One transaction, and who acts in it."""

    @property
    def now(self) -> datetime:
        """When this transaction began, UTC; the same for all that is written in it."""
        ...

    @property
    def actor(self) -> str:
        """Who acts: a person, a token's holder, or `host:<name>`."""
        ...

    @property
    def origin(self) -> str | None:
        """Where the request came from, as the server saw it; None for a host's own actions."""
        ...

    def wake(self, host: HostName, message: Message) -> None:
        """Ring this host after the commit. A lost ring costs one sweep, never work."""
        ...

    def tell(self, topic: str) -> None:
        """After the commit, let those who follow this topic (a run's id, `events`) look again."""
        ...

    def place_later(self) -> None:
        """After the commit, look for hosts for what waits: something was queued, or a place became free."""
        ...
