"""Safe to retry: a request with an Idempotency-Key is done once, and whoever repeats it is told what was told the first time.

As draft-ietf-httpapi-idempotency-key-header has it. A repetition while the first is under way waits for it; where that takes longer
than a request waits for the database it is a 503 with `Retry-After`, not the draft's 409: it may be repeated, as after any 503.
Keys are the caller's own (nobody else's collide with them) and stand for a day. A refused request leaves its key free.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter
from msgspec import Struct

from api.problems import MEDIA_TYPE, Problem
from api.provide import TheCaller
from domain.access import actions
from domain.access.answer import KeyedRequest
from domain.errors import Flaw, Invalid
from infra.db.database import Database
from infra.db.transaction import Tx

R = TypeVar("R")

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 255
_PRINTABLE = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_KEY}}}")
_QUOTED = re.compile(r'"(?:[^"\\]|\\["\\])*"')
"""A String of RFC 8941."""

RESPONSES = {
    422: ResponseSpec(
        Problem, description=f"The {HEADER} came before with another request: repeat that one, or take a fresh key.", media_type=MEDIA_TYPE
    )
}
RESPONSE_HEADERS = [
    ResponseHeader(name=REPLAYED, documentation_only=True, description="`true`: this was done before, and is what was answered then.")
]
"""What the OpenAPI document says of requests that may be repeated."""


class Told(Struct, frozen=True):
    """What the caller is told, and whether for the first time."""

    status: int
    body: bytes
    replayed: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The mark of a repetition."""
        return {REPLAYED: "true"} if self.replayed else {}

    def response(self) -> Response[Any]:
        """The answer, byte for byte."""
        return Response(self.body, status_code=self.status, headers=self.headers, media_type=MediaType.JSON)


class Once:
    """A request that may be repeated, if it bears a key."""

    def __init__(self, db: Database, request: KeyedRequest | None) -> None:
        self._db = db
        self._request = request

    async def earlier(self) -> Told | None:
        """What was told the first time: asked before files are looked for, which may be gone by now."""
        answer = await self._db.read(actions.earlier, self._request) if self._request else None
        return Told(answer.status, answer.body, replayed=True) if answer else None

    async def run(self, act: Callable[[Tx], R], render: Callable[[R], bytes], status: int) -> Told:
        """Act in one transaction that also keeps what is told, unless it was told before. `render` is pure."""
        if self._request is None:
            return Told(status, render(await self._db.run(act)))
        answer, replayed = await self._db.run(actions.once, self._request, act, render, status)
        return Told(answer.status, answer.body, replayed)


TheOnce = NamedDependency[Once]


async def provide_once(
    caller: TheCaller,
    request: Request[Any, Any, Any],
    idempotency_key: Annotated[
        str | None,
        HeaderParameter(
            name=HEADER,
            description="A text of your choice, such as a UUID. Within 24 hours the same request with the same key is done once.",
        ),
    ] = None,
) -> Once:
    """Give the way to do this request once; Invalid when its key is none."""
    if idempotency_key is None:
        return Once(caller.db, None)
    key = read_key(request.headers.getall(HEADER))
    return Once(caller.db, KeyedRequest(key=key, fingerprint=_fingerprint(request, await request.body())))


def read_key(lines: list[str]) -> str:
    """Read the key: quoted as in the draft, or bare as most send it; both are the same key."""
    key = lines[0].strip(" \t")
    if key.startswith('"'):
        key = re.sub(r"\\(.)", r"\1", key[1:-1]) if _QUOTED.fullmatch(key) else ""
    if len(lines) > 1 or not _PRINTABLE.fullmatch(key):
        message = f"{HEADER} must be one text of 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID"
        raise Invalid(message, [Flaw(HEADER, message)])
    return key


def _fingerprint(request: Request[Any, Any, Any], body: bytes) -> str:
    """Digest what was asked, byte by byte: a program that repeats a request sends the bytes again, so other spacing is another request.

    `/v1` and the address without it are one. No part before the body can hold the NUL between them (`api/parameters.py`).
    """
    path = request.scope["path"].removeprefix("/v1")
    parts = (request.method.encode(), path.encode(), request.scope["query_string"], body)
    return sha256(b"\0".join(parts)).hexdigest()
