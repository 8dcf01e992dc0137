"""What is asked for again is not done again: a request with a key gets the answer that it got the first time.

The row of the key is written first and filled last, in the action's own transaction. So a second request with that key waits for the
transaction of the first, and then finds its answer; or, where that one failed and left no trace, its own turn. Nobody holds a lock
while waiting here: the key comes before the owner, the process and the host.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from msgspec.structs import replace

from domain.access.answer import Answer, KeyedRequest
from domain.access.ports import HasAnswers
from domain.database import Transaction
from domain.errors import KeyReused

KEPT = timedelta(hours=24)
"""How long a request may be repeated; a client that has not heard an answer by then looks for itself."""
FORGOTTEN_AT_ONCE = 1_000
"""Rows in one transaction: some milliseconds, in which SQLite's one writer does nothing else."""


class Tx(Transaction, HasAnswers, Protocol):
    """What these actions may touch."""


T = TypeVar("T", bound=Tx)
R = TypeVar("R")


def earlier(tx: Tx, request: KeyedRequest) -> Answer | None:
    """Return what this request was answered before, if it was; KeyReused when its key was another request's."""
    answer = tx.answers.get(tx.actor, request.key)
    if answer is not None and answer.fingerprint != request.fingerprint:
        message = (
            f"the Idempotency-Key {request.key} was sent before with another method, address or body; "
            "repeat that request unchanged, or send this one with a fresh key, such as a new UUID"
        )
        raise KeyReused(message, key=request.key)
    return answer


def once(tx: T, request: KeyedRequest, act: Callable[[T], R], render: Callable[[R], bytes], status: int) -> tuple[Answer, bool]:
    """Act, and keep the answer with what was done; or give the earlier answer, and True: nothing is done again.

    An action that fails leaves its key free.
    """
    claimed = Answer(principal=tx.actor, key=request.key, fingerprint=request.fingerprint, status=status, body=b"", created_at=tx.now)
    while not tx.answers.claim(claimed):
        if answer := earlier(tx, request):  # else it was forgotten this very moment
            return answer, True
    answer = replace(claimed, body=render(act(tx)))
    tx.answers.save(answer)
    return answer, False


def forget(tx: Tx, older_than: timedelta = KEPT) -> int:
    """Drop answers that are older than this, at most a thousand; how many it were: after a full thousand there may be more."""
    return tx.answers.forget(tx.now - older_than, FORGOTTEN_AT_ONCE)
