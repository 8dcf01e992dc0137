"""Asking a model server how it is: only ever at the address and port that it was given, and never more than a little.

No redirect is followed, nothing of the environment is heeded, an answer is cut at 64 KiB.
"""

import asyncio
import errno
import socket
import time
from ipaddress import ip_address

import httpx
from msgspec import Struct

from domain.deployments.figures import Reading, read
from domain.deployments.health import Beat

HEALTH_SECONDS = 2.0
MOST_BYTES = 64 * 1024
METRICS_BYTES = 4 * 1024 * 1024
"""vLLM's own page has some 200 KiB of histograms."""
SERVER_ERROR = 500


class Server(Struct, frozen=True, kw_only=True):
    """Where one answers."""

    address: str
    port: int
    key: str | None = None

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"


class _Line(httpx.AsyncHTTPTransport):
    """Says that a connection was lost where httpcore only trips: over one that is lost the moment it is made."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except (AttributeError, OSError) as lost:
            message = "the connection was lost at once"
            raise httpx.ConnectError(message, request=request) from lost


class Asker:
    """Asks servers; to be closed."""

    def __init__(self) -> None:
        # Plain HTTP is all they speak; without `verify` the machine's certificates would be read, a tenth of a start.
        line = _Line(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._http = httpx.AsyncClient(transport=line, trust_env=False)

    async def health(self, server: Server, path: str) -> Beat:
        """Ask whether it is well."""
        try:
            status, _ = await self._ask(server, "GET", path, MOST_BYTES, HEALTH_SECONDS)
        except (httpx.HTTPError, TimeoutError, ValueError) as problem:
            return Beat(False, f"{path} does not answer ({_words(problem)})")  # noqa: FBT003 - the answer to "ok?"
        return Beat(httpx.codes.is_success(status), None if httpx.codes.is_success(status) else f"{path} answers {status}")

    async def one_token(self, server: Server, model: str, seconds: float) -> Beat:
        """Ask for one token, as an engine that hangs says that it is well; a model that makes no text need only answer."""
        body: dict[str, object] = {"model": model, "prompt": "1", "max_tokens": 1}
        try:
            status, _ = await self._ask(server, "POST", "/v1/completions", MOST_BYTES, seconds, body)
        except (httpx.HTTPError, TimeoutError) as problem:
            return Beat(False, f"one token was asked for and none came within {seconds:g} s ({_words(problem)})")  # noqa: FBT003 - as above
        failed = status >= SERVER_ERROR
        return Beat(not failed, f"asked for one token it answers {status}" if failed else None)

    async def metrics(self, server: Server) -> Reading | None:
        """Read its metrics; None where it has none."""
        try:
            status, text = await self._ask(server, "GET", "/metrics", METRICS_BYTES, HEALTH_SECONDS)
        except (httpx.HTTPError, TimeoutError, ValueError):
            return None
        reading = read(text.decode("utf-8", "replace"), time.monotonic()) if status == httpx.codes.OK else None
        return reading if reading and reading.values else None

    async def close(self) -> None:
        """Let every connection go."""
        await self._http.aclose()

    async def _ask(
        self, server: Server, method: str, path: str, most: int, seconds: float, asked: dict[str, object] | None = None
    ) -> tuple[int, bytes]:
        """Return the status and the beginning of the body."""
        url, body = f"{server.url}{path}", b""
        async with (
            asyncio.timeout(seconds),
            self._http.stream(method, url, json=asked, headers=_headers(server), timeout=seconds) as answer,
        ):
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) >= most:
                    break
            return answer.status_code, body[:most]


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there; an address that is none of this machine's is left to the server to complain about."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen()
    except OSError as problem:
        return problem.errno != errno.EADDRINUSE
    return True


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches it."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _headers(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"} if server.key else {}


def _words(problem: Exception) -> str:
    return str(problem).lower() or type(problem).__name__
