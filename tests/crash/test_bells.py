"""Redis dies, forgets everything, or does not answer for five seconds: requests answer at once, and the sweep finds what was not rung."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from infra import embedded
from tests.crash.counted import Counted, lives
from tests.house import House, eventually

SWEEP = 0.5
AT_ONCE = 2.0
"""Seconds within which a request answers whatever Redis does."""


@contextmanager
def dead(redis: embedded.Redis, _worker: int) -> Iterator[None]:
    """It is killed."""
    redis.process.kill()
    redis.process.wait()
    yield


@contextmanager
def forgetful(redis: embedded.Redis, worker: int) -> Iterator[None]:
    """All that was rung is flushed before the worker could read it."""
    os.kill(worker, signal.SIGSTOP)
    yield
    with Redis.from_url(redis.url) as client:
        client.flushall()
    os.kill(worker, signal.SIGCONT)


@contextmanager
def slow(redis: embedded.Redis, _worker: int) -> Iterator[None]:
    """It answers nobody for five seconds."""
    with Redis.from_url(redis.url) as client:
        client.execute_command("CLIENT", "PAUSE", 5_000)
    yield


@pytest.mark.parametrize("fault", [dead, forgetful, slow])
def test_what_redis_does_not_ring_is_found_by_the_sweep(
    make_house: Callable[..., House],
    postgresql_url: str,
    tmp_path: Path,
    fault: Callable[[embedded.Redis, int], AbstractContextManager[None]],
) -> None:
    with embedded.redis(tmp_path / "redis") as redis:
        house = make_house(postgresql_url, redis.url, TUNEYARD_SWEEP_SECONDS=str(SWEEP))
        assert house.worker.process is not None
        toy = Counted(house, held=True)
        running, cancelled = toy.counting(), toy.counting()
        trainer = toy.trainer(cancelled)

        with fault(redis, house.worker.process.pid):
            began = time.monotonic()
            launched = toy.launch()
            toy.cancel(cancelled)
            assert time.monotonic() - began < 2 * AT_ONCE
        began = time.monotonic()
        eventually(lambda: not lives(trainer))
        eventually(lambda: toy.total(launched) > len(toy.expected))
        took = time.monotonic() - began

        assert took < SWEEP + 4  # before a Redis that is slow for five seconds could have helped
        assert "cancelled" == toy.ended(cancelled)["status"]
        toy.let_go()
        toy.assert_whole(running)
        toy.assert_whole(launched)
        assert house.worker.process.poll() is None
