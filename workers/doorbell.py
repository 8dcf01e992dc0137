"""arq's worker, woken by a ring instead of its half-second poll, and kept alive through every trouble of Redis.

The jobs are short and say only "look at this"; losing one costs a sweep. So a broken connection is simply made again.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import msgspec
from arq import Worker
from arq.connections import RedisSettings
from arq.worker import func
from redis.exceptions import RedisError
from typing_extensions import override

from domain.ids import HostName
from infra.queue.bell import FUNCTION, connect, doorbell_of, queue_of
from workers import handles
from workers.supervisor import Supervisor

log = logging.getLogger(__name__)

JOB_SECONDS = 60
"""A look takes milliseconds; arq gives a killed worker's job back only after this and ten seconds more."""
FALLBACK_SECONDS = 5.0
"""How often the queue is read without a ring."""
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.5
"""How long a look may take that is under way when this worker stops."""


class DoorbellWorker(Worker):
    """A worker that sleeps on its host's doorbell."""

    def __init__(self, host: HostName, url: str, ctx: dict[str, Any]) -> None:
        super().__init__(
            functions=[func(handles.look, name=FUNCTION)],
            queue_name=queue_of(host),
            redis_settings=RedisSettings(),
            redis_pool=connect(url),
            handle_signals=False,
            job_timeout=JOB_SECONDS,
            keep_result=0,
            job_serializer=msgspec.msgpack.encode,
            job_deserializer=msgspec.msgpack.decode,
            ctx=ctx,
        )
        self.listened = False
        self._doorbell = doorbell_of(host)

    @override
    async def main(self) -> None:
        """Read the queue at every ring, and now and then without one."""
        pubsub = self.pool.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(self._doorbell)
            self.listened = True
            while True:
                await self._poll_iteration()
                await pubsub.get_message(timeout=FALLBACK_SECONDS)
        finally:
            with suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    @override
    async def close(self) -> None:
        """Let every connection go, whatever state Redis is in; a look that is cut off costs a sweep."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self.pool.aclose(close_connection_pool=True)


async def answer_bell(host: HostName, url: str, supervisor: Supervisor) -> None:
    """Answer the bell for ever; when Redis is gone, wait for it to come back."""
    said = False
    while True:
        worker = DoorbellWorker(host, url, {handles.SUPERVISOR: supervisor})
        try:
            await worker.main()
        except (RedisError, OSError) as problem:
            if worker.listened or not said:
                log.warning("the bell is out of order (%s); this host notices work in its sweeps", problem)
            said = True
        except Exception:
            log.exception("the bell broke; it is hung up anew")
        finally:
            with suppress(RedisError, OSError):
                await worker.close()
        await asyncio.sleep(RETRY_SECONDS)
