"""A line between a client and a server that goes bad on demand: slow, silent, cut, or with the answer lost on its way back."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

T = TypeVar("T")

PIECE = 64 * 1024
"""Bytes that are passed on at a time."""
_CUT_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: the other side sees a reset, not an orderly end."""


@contextmanager
def proxied(url: str) -> Iterator[tuple["Proxy", str]]:
    """Give a proxy in front of the server of a URL, and the URL that leads through it: HTTP, PostgreSQL or Redis, by TCP or by a socket."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    server: tuple[str, int] | str
    if parts.scheme == "unix":
        server = unquote(parts.path)
    elif folder:
        server = f"{folder}/.s.PGSQL.{parts.port or 5432}"
    else:
        server = (parts.hostname or "127.0.0.1", parts.port or _PORTS[parts.scheme])
    with Proxy(server) as proxy:
        who, at, _ = parts.netloc.rpartition("@")
        place = f"{who}{at}127.0.0.1:{proxy.port}"
        if parts.scheme == "unix":
            yield proxy, f"redis://{place}"
        else:
            yield proxy, urlunsplit(parts._replace(netloc=place, query="" if folder else parts.query))


_PORTS = {"http": 80, "postgresql": 5432, "redis": 6379}


class Proxy:
    """A TCP proxy on a port of loopback, in front of `(host, port)` or of the Unix socket at a path.

    How it treats what comes along may be changed at any time and from any thread; that holds for the connections already open, too.
    It lives in a thread of its own, so a blocking test may use it as well as one with a loop.
    """

    def __init__(self, server: tuple[str, int] | str) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._links: set[_Link] = set()
        self._open = asyncio.Event()
        self._seconds = 0.0
        self._cutting = False
        self._to: bytes | None = None
        self.after = b""
        """What a client sends some time before that, on the same connection."""
        self._hang_up = True
        self._times = 0
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.dropped = 0
        """Replies lost so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._within(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._listener.sockets[0].getsockname()[1]
        self.pass_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._within(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pass_on(self) -> None:
        """Be a good line, from the start on; what a silent one held back goes on its way."""
        self._within(self._become())

    def delay(self, seconds: float) -> None:
        """Keep each piece so long, in both directions."""
        self._within(self._become(seconds=seconds))

    def blackhole(self) -> None:
        """Let nothing through in either direction and hang up on nobody, as a network that lost its route; new connections are taken."""
        self._within(self._become(silent=True))

    def reset(self) -> None:
        """Cut every connection, those open and those to come."""
        self._within(self._become(cutting=True))

    def drop_reply(self, to: bytes = b"", *, after: bytes = b"", times: int = 1, hang_up: bool = True) -> None:
        """Pass on, but lose what the server says next once a client has sent these bytes: done, and nobody hears of it.

        With `after`, these count only behind those. The connection is cut; without `hang_up` it stays open and silent. After so many
        `times` it is a good line again.
        """
        self._within(self._become(to=to, after=after, times=times, hang_up=hang_up))

    async def passage(self) -> None:
        """Return when a piece may go on."""
        await self._open.wait()
        if self._seconds:
            await asyncio.sleep(self._seconds)

    @property
    def wanted(self) -> bytes | None:
        """What a client sends whose reply is to be lost."""
        return self._to if self._times else None

    def loses_reply(self) -> bool:
        """Note that one more reply is lost; whether its connection is cut."""
        self.dropped += 1
        self._times -= 1
        return self._hang_up

    async def _become(
        self,
        *,
        seconds: float = 0.0,
        silent: bool = False,
        cutting: bool = False,
        to: bytes | None = None,
        after: bytes = b"",
        times: int = 0,
        hang_up: bool = True,
    ) -> None:
        self._seconds, self._cutting, self._to, self.after, self._times, self._hang_up = seconds, cutting, to, after, times, hang_up
        if silent:
            self._open.clear()
        else:
            self._open.set()
        if cutting:
            for link in self._links:
                link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        if self._cutting:
            link.cut()
            return
        self._links.add(link)
        with suppress(asyncio.CancelledError):  # at our end, which is in order: Python 3.11 would report it as an error
            await link.live(self._server)
        self._links.discard(link)

    async def _end(self) -> None:
        self._listener.close()
        for link in self._links:
            link.cut()
        everything = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)

    def _within(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)


class _Link:
    """One client's connection, and ours to the server on its behalf."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writers = [writer]
        self._heard = b""
        self._passed = b""
        self._marked = False
        self._mute = False

    async def live(self, server: tuple[str, int] | str) -> None:
        """Pass on in both directions until both sides have ended, or one has died."""
        with suppress(OSError):
            await self._proxy.passage()
            opening = asyncio.open_unix_connection(server) if isinstance(server, str) else asyncio.open_connection(*server)
            reader, writer = await opening
            self._writers.append(writer)
            await asyncio.gather(self._ask(writer), self._reply(reader))
        self.cut()

    def cut(self) -> None:
        """End both connections as a broken line would."""
        for writer in self._writers:
            connection: Any = writer.get_extra_info("socket")
            if connection.family == socket.AF_INET and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CUT_AT_CLOSE)
            writer.transport.abort()

    async def _ask(self, writer: asyncio.StreamWriter) -> None:
        while piece := await self._reader.read(PIECE):
            await self._proxy.passage()
            self._listen(piece)
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def _reply(self, reader: asyncio.StreamReader) -> None:
        (client, *_) = self._writers
        while piece := await reader.read(PIECE):
            await self._proxy.passage()
            if self._marked and not self._mute and self._proxy.wanted is not None:
                self._mute = True
                if self._proxy.loses_reply():
                    self.cut()
            if not self._mute:
                client.write(piece)
                await client.drain()
        if not self._mute:
            client.write_eof()

    def _listen(self, piece: bytes) -> None:
        wanted = self._proxy.wanted
        if wanted is None:
            self._heard, self._passed = b"", b""
            return
        self._heard += piece
        if self._passed != self._proxy.after:
            _, self._passed, rest = self._heard.partition(self._proxy.after)
            self._heard = rest if self._passed else self._heard[-len(self._proxy.after) :]
        if self._passed == self._proxy.after:
            self._marked = self._marked or wanted in self._heard
            self._heard = self._heard[-len(wanted) :] if wanted else b""
