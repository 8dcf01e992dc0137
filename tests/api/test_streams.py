"""What an open stream sends while nothing happens, and how it ends while the database is away."""

import asyncio
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from typing_extensions import override

from api import follow
from api.follow import Batch, Told
from domain.errors import Unavailable
from infra.queue.news import News
from tuneyard.client import Client


async def test_a_quiet_stream_sends_comments_and_no_empty_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(follow, "QUIET_SECONDS", 0.02)
    batches = iter([Batch([])] * 3 + [Batch([Told("end", None, {})], over=True)])

    async def read() -> Batch:
        return next(batches)

    sent = b"".join([each async for each in _streamed(read)])

    assert b": still here\r\n\r\nevent: end\r\ndata: {}\r\n\r\n" == sent


async def test_a_stream_whose_database_goes_away_ends_without_an_end() -> None:
    answers = iter([Batch([Told("line", "0", {})])])

    async def read() -> Batch:
        for batch in answers:
            return batch
        raise Unavailable("gone")

    sent = b"".join([each async for each in _streamed(read)])

    assert b"id: 0\r\nevent: line\r\ndata: {}\r\n\r\n" == sent


def test_the_client_takes_a_comment_for_no_event() -> None:
    said = b'id: 0\r\nevent: line\r\ndata: {"number":0}\r\n\r\n: still here\r\n\r\nevent: end\r\ndata: {}\r\n\r\n'

    class Canned(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(said)

        @override
        def log_message(self, format: str, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Canned) as server, Client(f"http://127.0.0.1:{server.server_port}") as tuneyard:
        Thread(target=server.handle_request).start()

        assert [0] == [line.get("number") for line in tuneyard.follow("project", "run")]


def _streamed(read: Any) -> AsyncIterator[bytes]:
    return follow.stream(News(None), "run", asyncio.Event(), read).iterator  # type: ignore[return-value]
