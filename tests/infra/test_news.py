"""News: who follows a topic hears of it, in this process and in all others, and loses nothing but time when Redis is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra import embedded
from infra.queue.news import Follower, News
from tests.house import PATIENCE


@asynccontextmanager
async def started(url: str | None) -> AsyncIterator[News]:
    news = News(url)
    news.start()
    try:
        yield news
    finally:
        await news.close()


async def hears(follower: Follower) -> bool:
    """Whether news came, well before a long wait's end."""
    began = time.monotonic()
    await follower.wait(PATIENCE)
    return time.monotonic() - began < PATIENCE / 2


async def test_a_follower_hears_of_its_topic_and_of_no_other() -> None:
    async with started(None) as news:
        with news.follow("a") as one, news.follow("a") as two, news.follow("b") as other:
            news.tell_soon(["a", "a"])

            assert await hears(one)
            assert await hears(two)
            began = time.monotonic()
            await other.wait(0.05)
            assert time.monotonic() - began >= 0.05


async def test_news_that_came_while_nobody_waited_is_not_missed() -> None:
    async with started(None) as news:
        with news.follow("a") as follower:
            news.tell_soon({"a"})
            await asyncio.sleep(0)

            assert await hears(follower)


async def test_news_cross_from_one_process_to_another(redis_url: str) -> None:
    async with started(redis_url) as teller, started(redis_url) as hearer:
        with hearer.follow("运行-1") as follower:
            assert await told_and_heard(teller, "运行-1", follower)


async def test_a_follower_who_left_is_forgotten() -> None:
    async with started(None) as news:
        with news.follow("a") as follower:
            pass
        news.tell_soon({"a"})

        began = time.monotonic()
        await follower.wait(0.05)
        assert time.monotonic() - began >= 0.05


async def test_a_redis_that_comes_back_carries_news_again(tmp_path: Path) -> None:
    with embedded.redis(tmp_path) as redis:
        url = redis.url
    async with started(url) as teller, started(url) as hearer:
        with hearer.follow("a") as follower:
            teller.tell_soon({"a"})
            with embedded.redis(tmp_path):
                assert await told_and_heard(teller, "a", follower)


async def told_and_heard(teller: News, topic: str, follower: Follower) -> bool:
    """Whether the follower hears, however late it subscribed: it is told again and again."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        teller.tell_soon({topic})
        began = time.monotonic()
        await follower.wait(0.1)
        if time.monotonic() - began < 0.1:
            return True
    return False
