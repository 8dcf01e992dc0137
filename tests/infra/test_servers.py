"""A model server is asked how it is, and can neither send us elsewhere, nor keep us, nor fill our memory."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from infra.servers import HEALTH_SECONDS, METRICS_BYTES, MOST_BYTES, Asker, Server, is_free, is_loopback

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
PIECE = b"x" * 16_384


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    asker = Asker()
    yield asker
    await asker.close()


class Answering:
    """A server that answers everybody with the same bytes, for ever if it is to, and counts."""

    def __init__(self, answer: bytes, *, endless: bool) -> None:
        self._answer = answer
        self._endless = endless
        self.asked: list[bytes] = []
        self.sent = 0
        self.server = Server(address="127.0.0.1", port=0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self._answer)
            while self._endless:
                writer.write(PIECE)
                await writer.drain()
                self.sent += len(PIECE)
        writer.close()


@asynccontextmanager
async def answering(answer: bytes, *, endless: bool = False) -> AsyncIterator[Answering]:
    told = Answering(answer, endless=endless)
    listener = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.server = Server(address="127.0.0.1", port=listener.sockets[0].getsockname()[1], key="sk-1")
    yield told
    listener.close()


async def test_a_redirect_is_told_and_not_followed(asker: Asker) -> None:
    async with answering(OK) as other:
        location = f"http://127.0.0.1:{other.server.port}/secret".encode()
        async with answering(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n") as one:
            beat = await asker.health(one.server, "/health")

        assert (False, "/health answers 302") == (beat.ok, beat.reason)
        assert [] == other.asked


async def test_an_answer_without_end_is_cut(asker: Asker) -> None:
    async with answering(OK, endless=True) as one:
        begin = time.monotonic()

        beats = await asker.health(one.server, "/health"), await asker.one_token(one.server, "m", 30)

        assert [True, True] == [beat.ok for beat in beats]
        assert time.monotonic() - begin < HEALTH_SECONDS
        assert one.sent < 2 * MOST_BYTES + 2 * 8 * 2**20, "beyond what we took there is what sockets hold"


async def test_metrics_without_end_are_none(asker: Asker) -> None:
    async with answering(OK, endless=True) as one:
        assert await asker.metrics(one.server) is None
        assert one.sent < METRICS_BYTES + 8 * 2**20


async def test_who_says_nothing_is_waited_for_and_no_longer(asker: Asker) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        server = Server(address="127.0.0.1", port=silent.getsockname()[1])
        begin = time.monotonic()

        beat = await asker.health(server, "/health")
        token = await asker.one_token(server, "m", 0.2)

    assert time.monotonic() - begin < HEALTH_SECONDS + 2
    assert not beat.ok
    assert "/health does not answer" in (beat.reason or "")
    assert (False, "one token was asked for and none came within 0.2 s") == (token.ok, (token.reason or "").partition(" (")[0])


async def test_who_hangs_up_at_once_is_not_well(asker: Asker) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    server = Server(address="127.0.0.1", port=listener.sockets[0].getsockname()[1])

    beats = await asyncio.gather(*(asker.health(server, "/health") for _ in range(50)))
    listener.close()

    assert [False] * 50 == [beat.ok for beat in beats]


async def test_a_connection_lost_while_it_is_made_is_no_error_of_ours(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trip(*_: object) -> None:
        message = "'NoneType' object has no attribute 'getpeername'"  # httpcore 1.0 with anyio 4, where the peer was killed just then
        raise AttributeError(message)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", trip)

    beat = await asker.health(Server(address="127.0.0.1", port=1), "/health")

    assert (False, "/health does not answer (the connection was lost at once)") == (beat.ok, beat.reason)


async def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy, answering(OK) as one:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server.port}")
        asker = Asker()

        beat = await asker.health(one.server, "/health")
        await asker.close()

    assert beat.ok
    assert [] == proxy.asked
    assert b"Authorization: Bearer sk-1" in one.asked[0]


@pytest.mark.parametrize(("status", "ok"), [(b"200 OK", True), (b"404 Not Found", True), (b"400 Bad Request", True), (b"500 Oops", False)])
async def test_one_token_is_missed_only_where_the_engine_fails(asker: Asker, status: bytes, ok: bool) -> None:  # noqa: FBT001 - a parameter
    async with answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as one:
        beat = await asker.one_token(one.server, "m", 5)

    assert ok is beat.ok
    assert (None if ok else "asked for one token it answers 500") == beat.reason


@pytest.mark.parametrize("page", [b"", b"<html>hello</html>", b'{"a": 1}'])
async def test_a_page_that_is_no_metrics_gives_none(asker: Asker, page: bytes) -> None:
    async with answering(OK + page) as one:
        assert await asker.metrics(one.server) is None


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("h", False)],
)
def test_loopback_is_what_nobody_else_reaches(address: str, loopback: bool) -> None:  # noqa: FBT001 - a parameter
    assert loopback is is_loopback(address)
