"""The bell: wake the host that has something to do. A ring that is lost costs that host one sweep, never work."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from domain.ids import HostName
from domain.messages import Message

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
"""Longer than this Redis is as good as gone; a request never waits for it anyway."""
FUNCTION = "look"
"""The one job: look at what the message names."""


def queue_of(host: HostName) -> str:
    """Return the name of a host's own queue."""
    return f"tuneyard:host:{host}"


def doorbell_of(host: HostName) -> str:
    """Return the channel on which the host's worker sleeps."""
    return f"{queue_of(host)}:bell"


def connect(url: str) -> ArqRedis:
    """Return a client that connects when it is first used, and speaks msgpack: the default, pickle, would run what it reads."""
    pool = ConnectionPool.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
    return ArqRedis(pool, job_serializer=msgspec.msgpack.encode, job_deserializer=msgspec.msgpack.decode)


class Bell:
    """Rings hosts in the background, in order; without a Redis it is silent."""

    def __init__(self, url: str | None) -> None:
        self._redis = connect(url) if url else None
        self._ringing: set[asyncio.Task[None]] = set()
        self._heard = True

    def ring_soon(self, wakes: Sequence[tuple[HostName, Message]]) -> None:
        """Ring, without keeping the caller."""
        if self._redis is not None and wakes:
            task = asyncio.create_task(self._ring(self._redis, wakes))
            self._ringing.add(task)
            task.add_done_callback(self._ringing.discard)

    async def health(self) -> str:
        """Return `ok`, `down`, or `off` where there is no Redis."""
        if self._redis is None:
            return "off"
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return "down"
        return "ok"

    async def close(self) -> None:
        """Finish ringing, then hang up."""
        await asyncio.gather(*self._ringing, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose(close_connection_pool=True)

    async def _ring(self, redis: ArqRedis, wakes: Sequence[tuple[HostName, Message]]) -> None:
        try:
            for host, message in wakes:
                await redis.enqueue_job(FUNCTION, msgspec.to_builtins(message), _queue_name=queue_of(host))
                await redis.publish(doorbell_of(host), b"")
        except (RedisError, OSError) as problem:
            if self._heard:
                log.warning("the bell cannot be rung (%s); hosts notice work in their next sweep", problem)
            self._heard = False
        else:
            self._heard = True
