"""What can be wrong with a request, said once: what, where, and what to do.

An error is raised where the rule is and translated to HTTP at the edge (`api/problems.py`).
"""

from typing import Any

from msgspec import Struct


class Flaw(Struct, frozen=True):
    """One wrong place in what a caller sent."""

    field: str
    message: str


class DomainError(Exception):
    """A refusal that a caller can understand and act upon."""

    kind = "error"
    title = "The request could not be carried out"

    def __init__(self, detail: str, **facts: Any) -> None:  # noqa: ANN401 - facts are shown as JSON, whatever they are
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Invalid(DomainError):
    """The request itself is wrong; `flaws` names every wrong place at once."""

    kind = "invalid"
    title = "The request is not valid"

    def __init__(self, detail: str, flaws: list[Flaw] | None = None, **facts: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(detail, **facts)
        self.flaws = flaws or []


class NotFound(DomainError):
    """Nothing of that name is here (or the caller may not know of it)."""

    kind = "not-found"
    title = "Not found"


class Conflict(DomainError):
    """The thing is not in a state that allows this, or the name is taken."""

    kind = "conflict"
    title = "Not possible in the present state"


class KeyReused(DomainError):
    """The key of an earlier request came with another one: one of the two would be lost."""

    kind = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"


class Locked(DomainError):
    """Somebody else is at it this very moment."""

    kind = "locked"
    title = "In use this very moment"


class Damaged(DomainError):
    """The bytes that arrived are not those that were sent."""

    kind = "damaged"
    title = "Not the bytes that were sent"


class TooLarge(DomainError):
    """More bytes than the setting allows."""

    kind = "too-large"
    title = "Too large"


class Unauthorized(DomainError):
    """The caller has not shown who they are."""

    kind = "unauthorized"
    title = "A token is needed"


class Forbidden(DomainError):
    """The caller is known, and may not do this."""

    kind = "forbidden"
    title = "Not allowed"


class Unavailable(DomainError):
    """A part of the house cannot answer now; the same request may be repeated."""

    kind = "unavailable"
    title = "Not available right now"


class Ghost(DomainError):
    """The writer has lost its lease: somebody else speaks for this host now."""

    kind = "ghost"
    title = "The lease of this host has passed to another worker"
