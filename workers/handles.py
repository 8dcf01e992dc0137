"""The arq jobs: each says only where to look. Nobody else sees arq's `ctx`."""

from typing import Any

import msgspec

from domain.messages import LookAtProcess, Message
from workers.supervisor import Supervisor

SUPERVISOR = "supervisor"


async def look(ctx: dict[str, Any], said: Any) -> None:  # noqa: ANN401 - what came over the wire
    """Let the supervisor look at what the message names."""
    supervisor: Supervisor = ctx[SUPERVISOR]
    message = msgspec.convert(said, Message)
    if isinstance(message, LookAtProcess):
        supervisor.look(message.process_id)
