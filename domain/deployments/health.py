"""Whether a deployment answers: judged by several looks in a row, so that one slow answer is no illness and one good one no cure."""

from datetime import datetime
from typing import Self

from msgspec import Struct

SICK_AFTER = 3
"""Looks in vain, one after the other, after which it counts as not healthy and gets no requests."""
LOST_AFTER = 9
"""Looks in vain after which it is ended and begun anew."""
KEPT = 20
"""Changes of health that are remembered."""


class Beat(Struct, frozen=True):
    """What one look showed."""

    ok: bool
    reason: str | None = None
    """Why not, in words."""


class Change(Struct, frozen=True, kw_only=True):
    """From then on it was so."""

    at: datetime
    ok: bool
    reason: str | None = None


class Pulse(Struct, frozen=True):
    """How a server has answered lately."""

    healthy: bool = False
    missed: int = 0
    """Looks in vain, one after the other."""
    reason: str | None = None

    def after(self, beat: Beat) -> Self:
        """Return the pulse after one more look."""
        if beat.ok:
            return type(self)(healthy=True)
        missed = self.missed + 1
        return type(self)(healthy=self.healthy and missed < SICK_AFTER, missed=missed, reason=beat.reason)

    @property
    def lost(self) -> bool:
        """Whether there is no hope left that it comes back by itself."""
        return self.missed >= LOST_AFTER
