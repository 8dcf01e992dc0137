"""Ending what runs in the background, for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 0.5
"""How long a task may clean up before it is told again."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they are over: the client of Redis, cleaning up, may turn a cancellation into one more error to retry."""
    everything = list(tasks)
    left = {task for task in everything if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    await asyncio.gather(*everything, return_exceptions=True)
