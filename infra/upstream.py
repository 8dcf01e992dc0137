"""HTTP/1.1 to a model server, passed on as it comes: every piece of an answer the moment it is there, and never more than a little kept.

Why not httpx: beside a server that streams 37,000 events a second it passed on 14,000, for it handles each chunk by itself. Here what one
read of the socket brings is one piece, however many chunks it held; `make bench` measures it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL
from typing import cast

import httptools
from typing_extensions import override

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 3.0
"""How long an unused connection is kept: less than the five seconds after which uvicorn, and so vLLM, closes it."""
MOST_KEPT = 64 * 1024
"""Bytes of an answer that may wait for a slow client; then the model server waits too."""
LARGEST_HEAD = 64 * 1024

Headers = Sequence[tuple[bytes, bytes]]


class Broken(Exception):
    """The server cannot be reached, hung up, or says what is no HTTP."""


class Answer:
    """An answer that has begun: its head, and its body as it comes. Whoever does not read it to its end closes it."""

    def __init__(self, connection: "_Connection", pool: "Upstream") -> None:
        self.status = connection.status
        self.headers: Headers = connection.headers
        self._connection = connection
        self._pool = pool

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece; Broken when it ends before its end."""
        while piece := await self._connection.piece():
            yield piece
        self._pool.give_back(self._connection)

    def close(self) -> None:
        """Let go: a server that is still answering sees its client leave, and stops working for it."""
        if not self._connection.idle:
            self._connection.abort()


class Upstream:
    """Connections to model servers, used again while they are warm."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[str, int], list[_Connection]] = defaultdict(list)
        self._open: set[_Connection] = set()

    async def ask(self, address: str, port: int, path: str, headers: Headers, body: bytes) -> Answer:
        """Send a POST and return once its answer has begun; Broken when it has not, and then no byte of an answer was seen."""
        request = _request(address, port, path, headers, body)
        while idle := self._idle[address, port]:
            connection = idle.pop()
            try:
                return await self._begin(connection, request)
            except Broken:
                continue  # the server closed it in the same moment, as it may; a new one tells whether it lives
        return await self._begin(await self._connect(address, port), request)

    def give_back(self, connection: "_Connection") -> None:
        """Keep a connection whose answer is complete."""
        if connection.rest():
            self._idle[connection.where].append(connection)

    def gone(self, connection: "_Connection") -> None:
        """Forget a connection."""
        self._open.discard(connection)
        idle = self._idle[connection.where]
        if connection in idle:
            idle.remove(connection)
        if not idle:
            del self._idle[connection.where]

    def close(self) -> None:
        """Break off all that is open: what still streams ends as if its server had gone."""
        for connection in [*self._open]:
            connection.abort()

    async def _connect(self, address: str, port: int) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: _Connection(self, (address, port)), address, port)
        except OSError as problem:  # a timeout too
            message = f"{address}:{port} cannot be reached ({problem or 'no answer'})"
            raise Broken(message) from problem
        self._open.add(connection)
        return connection

    async def _begin(self, connection: "_Connection", request: bytes) -> Answer:
        try:
            await connection.ask(request)
        except BaseException:
            connection.abort()
            raise
        return Answer(connection, self)


class _Connection(asyncio.Protocol):
    """One connection: asked, read, and asked again."""

    def __init__(self, pool: Upstream, where: tuple[str, int]) -> None:
        self.where = where
        self.idle = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._pool = pool
        self._transport: asyncio.Transport
        self._expiry: asyncio.TimerHandle | None = None
        self._begun: asyncio.Future[None] | None = None
        self._fresh = asyncio.Event()
        self._clear()

    def _clear(self) -> None:
        self.status, self.headers = 0, []
        self._head_bytes, self._bounded, self._complete = 0, False, False
        self._problem: Broken | None = None
        self._kept: list[bytes] = []
        self._kept_bytes, self._paused = 0, False
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> None:
        """Send a request and return at the end of the answer's head."""
        if self._expiry:
            self._expiry.cancel()
        self.idle = False
        self._clear()
        if self._transport.is_closing():
            raise self._hung_up()
        self._begun = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._begun

    async def piece(self) -> bytes:
        """Return what has come since the last piece; nothing at the end."""
        while not self._kept:
            if self._complete:
                return b""
            if self._problem:
                raise self._problem
            self._fresh.clear()
            await self._fresh.wait()
        found = self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)
        self._kept, self._kept_bytes = [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return found

    def rest(self) -> bool:
        """Wait for the next request, if the server lets us."""
        self.idle = self._complete and self._bounded and self._parser.should_keep_alive() and not self._transport.is_closing()
        if self.idle:
            self._expiry = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.abort)
        else:
            self.abort()
        return self.idle

    def abort(self) -> None:
        """Hang up at once."""
        if self._expiry:
            self._expiry.cancel()
        self._transport.abort()
        self._end(self._hung_up())

    # What the loop tells

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a machine that vanished be noticed within half a minute, however long a model thinks."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's says so by what it does, not by its class
        if socket := transport.get_extra_info("socket"):
            socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            for option, value in ((TCP_KEEPIDLE, 15), (TCP_KEEPINTVL, 5), (TCP_KEEPCNT, 3)):
                socket.setsockopt(IPPROTO_TCP, option, value)

    @override
    def data_received(self, data: bytes) -> None:
        """Take what one read brought."""
        if self.idle or self._complete:  # nobody asked
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._end(Broken(f"{self._name} answers what is no HTTP ({problem})"))
            self._transport.abort()
            return
        if self._kept_bytes > MOST_KEPT and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._fresh.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """An answer of no stated length ends here; any other is broken."""
        if self.status and not self._bounded:
            self._complete = True
        self._end(self._hung_up())
        self._pool.gone(self)

    # What the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        name = name.lower()
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > LARGEST_HEAD:
            message = "its head is too large"
            raise ValueError(message)
        self._bounded |= name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked"))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The answer begins, unless this is `100 Continue` and its like."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - where HTTP draws the line
            self.headers.clear()
            return
        self.status = status
        self._bounded |= status in (204, 304)
        if self._begun and not self._begun.done():
            self._begun.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._kept.append(body)
        self._kept_bytes += len(body)

    def on_message_complete(self) -> None:
        """The end, but for `100 Continue`."""
        self._complete = self.status > 0

    def _end(self, problem: Broken) -> None:
        """Tell whoever waits that nothing more will come."""
        if not self._complete:
            self._problem = self._problem or problem
        if self._begun and not self._begun.done():
            self._begun.set_exception(problem)
        self._fresh.set()

    def _hung_up(self) -> Broken:
        return Broken(f"{self._name} hung up")

    @property
    def _name(self) -> str:
        return f"{self.where[0]}:{self.where[1]}"


def _request(address: str, port: int, path: str, headers: Headers, body: bytes) -> bytes:
    host = f"[{address}]" if ":" in address else address
    head = [f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n".encode()]
    head += [b"%s: %s\r\n" % header for header in headers]
    return b"".join((*head, b"\r\n", body))
