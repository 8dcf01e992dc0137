"""News: something about a topic has changed, look again. It carries no content, so a missed word costs one interval of polling."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra import tasks

log = logging.getLogger(__name__)

CHANNEL = "tuneyard:news"
PAUSE_SECONDS = 0.02
"""The first word goes out at once; what follows within this time goes out together."""
RETRY_SECONDS = 1.0
"""How long to let a dead Redis rest."""
CONNECT_SECONDS = 2.0


class Follower:
    """Waits for news of one topic."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def hear(self) -> None:
        """Wake whoever waits, or will."""
        self._news.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next news since the last wait, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()


class News:
    """Tells and hears news, within this process and, with a Redis, across all of them."""

    def __init__(self, url: str | None) -> None:
        self._telling = Redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS) if url else None
        self._hearing = Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS) if url else None
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._untold: set[str] = set()
        self._teller: asyncio.Task[None] | None = None

    def tell_soon(self, topics: Iterable[str]) -> None:
        """Let the followers look again, without keeping the caller; a topic told twice in a moment is told once."""
        topics = set(topics)
        for topic in topics:
            self._wake(topic)
        if self._telling is not None and topics:
            self._untold |= topics
            if self._teller is None or self._teller.done():
                self._teller = self._spawn(self._tell(self._telling))

    def start(self) -> None:
        """Begin to hear what other processes tell."""
        if self._hearing is not None:
            self._spawn(self._hear(self._hearing))

    @contextmanager
    def follow(self, topic: str) -> Iterator["Follower"]:
        """Follow a topic: news that comes while the caller is busy is not missed."""
        follower = Follower()
        self._followers[topic].add(follower)
        try:
            yield follower
        finally:
            self._followers[topic].discard(follower)
            if not self._followers[topic]:
                del self._followers[topic]

    async def close(self) -> None:
        """Stop hearing and telling."""
        await tasks.end(self._tasks)
        for redis in (self._telling, self._hearing):
            if redis is not None:
                await redis.aclose()

    def _wake(self, topic: str) -> None:
        for follower in self._followers.get(topic, ()):
            follower.hear()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, redis: Redis) -> None:
        try:
            while self._untold:
                topics, self._untold = self._untold, set()
                async with redis.pipeline(transaction=False) as pipe:
                    for topic in topics:
                        pipe.publish(CHANNEL, topic)
                    await pipe.execute()
                await asyncio.sleep(PAUSE_SECONDS)
        except (RedisError, OSError):
            self._untold.clear()

    async def _hear(self, redis: Redis) -> None:
        heard = True
        while True:
            pubsub = redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(CHANNEL)
                heard = True
                async for message in pubsub.listen():
                    self._wake(message["data"].decode())
            except (RedisError, OSError) as problem:
                if heard:
                    log.warning("no news for now (%s); followers poll", problem)
                heard = False
            finally:
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)
