"""A request on its way to a model server, and the answer on its way back, piece by piece, for as long as its caller stays."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send
from typing_extensions import override

from api.exchange import Exchange
from api.usage import Counts
from domain.deployments.queries import Route
from domain.ids import DeploymentId
from infra.upstream import Answer, Broken, Headers, Upstream

log = logging.getLogger(__name__)

PASSED_ON = frozenset({b"content-type", b"content-length", b"cache-control", b"retry-after", b"x-request-id"})
"""Headers of an answer that mean something to its caller."""
DEPLOYMENT = b"x-tuneyard-deployment"
"""Says which deployment answered."""
MOST_HELD = 64 * 1024
"""Bytes of an unfinished event that are held back."""
_ENDS = (b"\n\n", b"\r\n\r\n")
"""Of an event."""
_SERVICE_UNAVAILABLE, _FIRST_ERROR = 503, 400
_USAGE_WITHIN = 16 * 1024
"""How far from its end an answer says what it has used."""
_TOKENS = re.compile(rb'"(prompt_tokens|completion_tokens)"\s*:\s*(\d{1,12})\b')


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """All that passing on needs."""

    exchange: Exchange
    upstream: Upstream
    counts: Counts
    key: Callable[[DeploymentId], str | None]
    """What a deployment's server must be shown; None where it asks for nothing."""


class Errand(msgspec.Struct, frozen=True):
    """Who asks what, and of which model."""

    holder: str
    model: str
    path: str
    body: bytes
    headers: Headers


class Relay(ASGIResponse):
    """Passes a request on and streams the answer back; a caller who leaves is not worked for any longer."""

    def __init__(self, errand: Errand, gateway: Gateway) -> None:
        super().__init__()
        self._errand = errand
        self._gateway = gateway

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on until all is answered or the caller has left; DomainError while nothing has been answered."""
        passing = asyncio.ensure_future(self._pass_on(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((passing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            passing.cancel()
            leaving.cancel()
            await asyncio.wait((passing, leaving))
        if not passing.cancelled():
            passing.result()

    async def _pass_on(self, send: Send) -> None:
        errand, tried = self._errand, set[DeploymentId]()
        exchange, upstream = self._gateway.exchange, self._gateway.upstream
        while True:
            route = await exchange.choose(errand.model, tried)
            tried.add(route.deployment_id)
            with exchange.serving(route):
                try:
                    answer = await upstream.ask(route.address, route.port, errand.path, self._headers(route), errand.body)
                except Broken as problem:
                    log.warning("deployment %s of %s: %s", route.deployment_id, errand.model, problem)
                    continue
                try:
                    if answer.status != _SERVICE_UNAVAILABLE or not exchange.has_another(errand.model, tried):
                        await self._count(answer, route, send)
                        return
                finally:
                    answer.close()

    async def _count(self, answer: Answer, route: Route, send: Send) -> None:
        """Send the answer on, and count what it was, whatever becomes of it."""
        last: deque[bytes] = deque(maxlen=2)
        whole = False
        try:
            whole = await _send_on(answer, route, send, last)
        finally:
            failed = not whole or answer.status >= _FIRST_ERROR
            self._gateway.counts.note(self._errand.holder, self._errand.model, failed=failed, tokens=tokens_said(b"".join(last)))

    def _headers(self, route: Route) -> Headers:
        key = self._gateway.key(route.deployment_id)
        return [*self._errand.headers, (b"Authorization", b"Bearer " + key.encode())] if key else self._errand.headers


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_on(answer: Answer, route: Route, send: Send, last: deque[bytes]) -> bool:
    """Send an answer on, and keep its last pieces; whether it was whole."""
    headers = [header for header in answer.headers if header[0] in PASSED_ON]
    events = any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
    if events:
        headers.append((b"x-accel-buffering", b"no"))
    headers.append((DEPLOYMENT, route.deployment_id.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        async for piece in whole_events(answer.pieces()) if events else answer.pieces():
            last.append(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Broken as problem:
        log.warning("deployment %s broke off: %s", route.deployment_id, problem)
        if not events:
            return False  # the server then hangs up, and the caller sees that there is less than was announced
        await send({"type": "http.response.body", "body": _broken_off(), "more_body": False})
        return False
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return True


async def whole_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give what has come up to the end of an event, so that an error can follow it; the beginning of the next waits for its end."""
    held = b""
    async for each in pieces:
        piece = held + each if held else each
        end = len(piece) if piece.endswith(_ENDS) or len(piece) > MOST_HELD else _last_end(piece)
        if end:
            yield piece[:end]
        held = piece[end:]
    if held:
        yield held


def _last_end(piece: bytes) -> int:
    """Return where its last whole event ends; 0 when it holds none."""
    return max(piece.rfind(end) + len(end) if end in piece else 0 for end in _ENDS)


def tokens_said(end: bytes) -> tuple[int, int]:
    """Return the prompt's and the answer's tokens, as the end of an answer says them: its `usage` is read without reading the rest again.

    No text of a model can look like it: within a JSON string each quotation mark has a backslash before it.
    """
    at = end.rfind(b'"usage"', max(0, len(end) - _USAGE_WITHIN))
    found = {name: int(number) for name, number in _TOKENS.findall(end, at)} if at >= 0 and end[at - 1 : at] != b"\\" else {}
    return found.get(b"prompt_tokens", 0), found.get(b"completion_tokens", 0)


def _broken_off() -> bytes:
    message = "the model's server broke off its answer; what came before this is all there is"
    error = {"message": message, "type": "server_error", "param": None, "code": "upstream_broke_off"}
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"
