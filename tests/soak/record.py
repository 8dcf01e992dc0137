"""What the soak itself did and saw while it lasted; threads write here, the oracle reads it afterwards."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One answer of the API to a request with an Idempotency-Key."""

    key: str
    what: str
    """`launch`, `resume` or `cancel`."""
    status: int
    body: dict[str, Any]


class Said(NamedTuple):
    """One answer of the API, whatever was asked."""

    at: float
    request: str
    status: int
    seconds: float
    retry_after: str | None
    text: str


class Probe(NamedTuple):
    """One request while Redis or the database was away, and what was expected of it."""

    window: str
    request: str
    status: int
    """0: no answer at all."""
    seconds: float
    retry_after: str | None
    text: str


class Harm(NamedTuple):
    """An attempt of a run that was hurt on purpose."""

    run: str
    attempt: int
    kind: str


class Followed(NamedTuple):
    """What a live stream told of a run's log, to its end."""

    run: str
    numbers: list[int]
    lines: list[str]


class Listing(NamedTuple):
    """A complete artifact, as the API showed it at some moment."""

    artifact: str
    run: str
    path: str
    size: int


@dataclass
class Record:
    """Everything."""

    done: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""
    answers: list[Answer] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    harms: list[Harm] = field(default_factory=list)
    followed: list[Followed] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    unaccepted: list[str] = field(default_factory=list)
    """Requests that were never answered well, however often they were repeated."""
    exits: list[str] = field(default_factory=list)
    """Parts that ended though nobody ended them."""
    refused: Counter[str] = field(default_factory=Counter)
    """Starts of a worker that were refused, as they may be while its host is spoken for or the database is away."""
    troubles: list[str] = field(default_factory=list)
    """What went wrong in the soak itself."""
