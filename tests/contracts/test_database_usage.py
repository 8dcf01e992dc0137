"""Who asked how much of which model: what is counted is added to, by however many servers at once."""

import asyncio

from domain.deployments import usage
from domain.deployments.usage import Usage
from infra.db.database import Database


def used(holder: str, model: str = "qwen", day: str = "2025-11-20", requests: int = 1) -> Usage:
    return Usage(holder=holder, model=model, day=day, requests=requests, completion_tokens=10 * requests)


async def test_counts_are_added_to(db: Database) -> None:
    await db.run(usage.count, [used("me"), used("you", requests=3)])
    await db.run(usage.count, [used("you"), used("me", "other"), used("me")])

    assert [used("me", "other"), used("me", requests=2), used("you", requests=4)] == await db.read(usage.usage, "2025-11-20")


async def test_they_are_shown_from_a_day_on(db: Database) -> None:
    await db.run(usage.count, [used("me", day="2025-11-21"), used("me", day="2025-11-19"), used("me")])

    assert ["2025-11-20", "2025-11-21"] == [each.day for each in await db.read(usage.usage, "2025-11-20")]


async def test_servers_that_count_at_once_lose_nothing(db: Database) -> None:
    both = [used("me"), used("you")]

    await asyncio.gather(*(db.run(usage.count, [*both] if number % 2 else both[::-1]) for number in range(10)))

    assert [used("me", requests=10), used("you", requests=10)] == await db.read(usage.usage, "2025-11-20")
