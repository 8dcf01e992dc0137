"""On uvloop, as the server runs: its transports are not asyncio's own, and a difference has been an error once."""

from collections.abc import Callable
from typing import Any

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """Let the tests of this folder run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}
