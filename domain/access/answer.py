"""An answer is what a request got that carried an Idempotency-Key: the same request again gets it again, and does nothing.

It is written in the transaction of what was done, so either both are there or neither (draft-ietf-httpapi-idempotency-key-header).
"""

from datetime import datetime

from msgspec import Struct


class KeyedRequest(Struct, frozen=True, kw_only=True):
    """A request that bears a key, by which it is known when it comes again."""

    key: str
    fingerprint: str


class Answer(Struct, frozen=True, kw_only=True):
    """What one key of one principal stands for."""

    principal: str
    key: str
    fingerprint: str
    """SHA-256 of the request's method, address and body: the same key with another request is a mistake of the caller's."""
    status: int
    """HTTP status of the answer."""
    body: bytes
    """The answer as it went out; of a cancel the id of its run, whose present state is the answer."""
    created_at: datetime
