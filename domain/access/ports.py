"""What repeated requests need from the world."""

from datetime import datetime
from typing import Protocol

from domain.access.answer import Answer


class Answers(Protocol):
    """What was answered to the requests that carried a key."""

    def get(self, principal: str, key: str) -> Answer | None:
        """What this key of this principal stands for."""
        ...

    def claim(self, answer: Answer) -> bool:
        """Keep it if its key is free. False when it is taken; while another transaction takes it, wait for that one's end."""
        ...

    def save(self, answer: Answer) -> None:
        """Keep a claimed one, complete."""
        ...

    def forget(self, before: datetime, limit: int) -> int:
        """Drop at most so many, the oldest first, that were given before this moment; how many it were."""
        ...


class HasAnswers(Protocol):
    """A transaction that reaches the answers."""

    @property
    def answers(self) -> Answers:
        """The answers."""
        ...
