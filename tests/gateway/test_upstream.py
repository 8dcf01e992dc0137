"""HTTP to a model server, byte by byte: what counts as an answer, what as a broken one, and when a connection is used again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra import upstream
from infra.upstream import Broken, Upstream
from tests.toy_server import canned

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabcdefg"
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nabcdefg"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED


@pytest.fixture
async def servers() -> AsyncIterator[Upstream]:
    """Give connections that are all broken off at the end."""
    found = Upstream()
    yield found
    found.close()
    await asyncio.sleep(0)


async def ask(servers: Upstream, port: int) -> tuple[int, bytes]:
    answer = await servers.ask("127.0.0.1", port, "/v1/x", [], b"{}")
    return answer.status, b"".join([piece async for piece in answer.pieces()])


@pytest.mark.parametrize("said", [CHUNKED, COUNTED, UNTIL_CLOSED, CONTINUED])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_an_answer_of_any_form_is_read_however_it_arrives(servers: Upstream, said: bytes, size: int) -> None:
    async with canned(*(said[at : at + size] for at in range(0, len(said), size))) as port:
        assert (200, b"abcdefg") == await ask(servers, port)


@pytest.mark.parametrize("said", [CHUNKED[:-5], COUNTED[:-1]])
async def test_an_answer_that_ends_before_its_end_is_broken(servers: Upstream, said: bytes) -> None:
    async with canned(said) as port:
        answer = await servers.ask("127.0.0.1", port, "/", [], b"")
        pieces = answer.pieces()

        assert b"abc" == (await anext(pieces))[:3]
        with pytest.raises(Broken, match="hung up"):
            _ = [piece async for piece in pieces]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "hung up"),
        (b"HTTP/1.1 200 OK\r\nConte", "hung up"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "no HTTP"),
    ],
)
async def test_what_is_no_answer_is_broken_before_anything_is_passed_on(servers: Upstream, said: bytes, why: str) -> None:
    async with canned(said) as port:
        with pytest.raises(Broken, match=why):
            await servers.ask("127.0.0.1", port, "/", [], b"")


async def test_a_port_that_nobody_listens_on_is_broken(servers: Upstream) -> None:
    async with canned() as port:
        pass
    with pytest.raises(Broken, match="cannot be reached"):
        await servers.ask("127.0.0.1", port, "/", [], b"")


async def test_a_connection_is_used_again(servers: Upstream) -> None:
    async with canned(COUNTED, hang_up=False) as port:
        for _ in range(3):
            assert (200, b"abcdefg") == await ask(servers, port)

        assert 1 == len(servers._open)  # noqa: SLF001 - how many it took


async def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(servers: Upstream) -> None:
    async with canned(COUNTED) as port:  # it promises to keep it open, and closes it
        for _ in range(5):
            assert (200, b"abcdefg") == await ask(servers, port)


async def test_an_unused_connection_is_closed_after_a_while(servers: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "IDLE_SECONDS", 0.01)
    async with canned(COUNTED, hang_up=False) as port:
        await ask(servers, port)

        async with asyncio.timeout(10):
            while servers._open:  # noqa: ASYNC110, SLF001 - that there is none left
                await asyncio.sleep(0.01)


async def test_an_answer_that_nobody_reads_to_its_end_is_let_go(servers: Upstream) -> None:
    async with canned(COUNTED[:-1], hang_up=False) as port:
        answer = await servers.ask("127.0.0.1", port, "/", [], b"")
        answer.close()
        await asyncio.sleep(0.05)

        assert not servers._open  # noqa: SLF001 - that there is none left


async def test_connections_of_servers_that_are_gone_are_not_kept(servers: Upstream) -> None:
    for _ in range(20):
        async with canned(COUNTED, hang_up=False) as port:
            await ask(servers, port)
    await asyncio.sleep(0.05)

    assert not servers._idle  # noqa: SLF001 - that nothing of them is left
