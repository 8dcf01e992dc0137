"""Server-sent events: rows read after the last one the follower has, woken by news or every second; they end when the server does."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from litestar.response import ServerSentEvent, ServerSentEventMessage
from msgspec import Struct

from domain.errors import Unavailable
from infra.queue.news import News

POLL_SECONDS = 1.0
"""How old an answer may be when no news can be heard."""
WAIT_SECONDS = 10
LONGEST_WAIT_SECONDS = 60
"""How long an answer may wait for something to be over, by default and at most."""
QUIET_SECONDS = 15.0
"""A comment goes out after so much silence, so that nothing between us and the follower hangs up."""


class Told(Struct, frozen=True):
    """One event for a follower; `id` is what they send back as `Last-Event-ID`."""

    event: str
    id: str | None
    data: Any


class Batch(Struct, frozen=True):
    """What there is to tell now, and whether anything can follow."""

    told: list[Told]
    over: bool = False


def stream(news: News, topic: str, closing: asyncio.Event, read: Callable[[], Awaitable[Batch]]) -> ServerSentEvent:
    """Answer with what `read` gives, again and again, until it says that all is told or the server closes."""
    return ServerSentEvent(_messages(news, topic, closing, read), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def until(news: News, topic: str, seconds: float, over: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is over, or after so many seconds."""
    end = time.monotonic() + seconds
    with news.follow(topic) as follower:
        while not await over() and (left := end - time.monotonic()) > 0:
            await follower.wait(min(left, POLL_SECONDS))


def wanted_wait(prefer: str | None) -> int:
    """Read `Prefer: wait=N` (RFC 7240): seconds, at most a minute; ten when it does not say."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})\b", prefer or "")
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else WAIT_SECONDS


async def _messages(
    news: News, topic: str, closing: asyncio.Event, read: Callable[[], Awaitable[Batch]]
) -> AsyncIterator[ServerSentEventMessage]:
    quiet = 0.0
    with news.follow(topic) as follower:
        while not closing.is_set():
            try:
                batch = await read()
            except Unavailable:
                return  # not the end, which would have been told: whoever follows comes again
            for told in batch.told:
                yield ServerSentEventMessage(event=told.event, id=told.id, data=msgspec.json.encode(told.data).decode())
            if batch.over:
                return
            if batch.told:
                quiet = 0.0
                continue
            await _first_of(follower.wait(POLL_SECONDS), closing.wait())
            quiet += POLL_SECONDS
            if quiet >= QUIET_SECONDS:
                quiet = 0.0
                yield ServerSentEventMessage(comment="still here", data=None)  # a comment alone; no data would be an empty event


async def _first_of(*waits: Any) -> None:  # noqa: ANN401 - coroutines
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def closing_at_signals(closing: asyncio.Event) -> Iterator[None]:
    """Set `closing` when the server is told to stop, then let its own handler run: an open stream would keep it waiting."""
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def chained(number: int, frame: Any) -> None:  # noqa: ANN401 - a frame
        loop.call_soon_threadsafe(closing.set)
        handler = before[number]
        if callable(handler):
            handler(number, frame)

    try:
        for number in (int(signal.SIGTERM), int(signal.SIGINT)):
            before[number] = signal.signal(number, chained)
    except ValueError:  # not the main thread: a test, whose server ends otherwise
        before.clear()
    try:
        yield
    finally:
        closing.set()
        for restored, handler in before.items():
            signal.signal(restored, handler)
