"""Model servers for tests: real processes of the toy that stands in for vLLM."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from domain.deployments.queries import Route
from domain.ids import DeploymentId
from tests.house import PATIENCE, free_port
from tests.things import AT

SERVE = Path(__file__).parent / "toys" / "serve.py"


class Toy:
    """One toy that serves, and what it says of itself."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], names: Sequence[str]) -> None:
        self.port = port
        self.process = process
        self.route = Route(deployment_id=DeploymentId(str(uuid4())), address="127.0.0.1", port=port, names=list(names), created_at=AT)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)

    async def answers(self) -> bool:
        """Whether it has started."""
        with suppress(httpx.TransportError):
            return (await self.client.get("/health")).is_success
        return False

    async def seen(self) -> dict[str, Any]:
        """Return what it has seen."""
        seen: dict[str, Any] = (await self.client.get("/toy")).json()
        return seen


@asynccontextmanager
async def canned(*pieces: bytes, hang_up: bool = True) -> AsyncIterator[int]:
    """Answer every request with these bytes, piece by piece, whatever it is; gives the port."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                if hang_up:
                    break
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def a_toy(*switches: str, names: Sequence[str] = ("qwen",), key: str | None = None) -> AsyncIterator[Toy]:
    """Serve until the block ends."""
    port = free_port()
    command = [sys.executable, "-S", str(SERVE), *switches, "serve", "/models/qwen", "--port", str(port), "--served-model-name", *names]
    environment = {**os.environ, **({"VLLM_API_KEY": key} if key else {})}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        toy = Toy(port, process, names)
        try:
            async with asyncio.timeout(PATIENCE):
                while not await toy.answers():  # noqa: ASYNC110 - a process rings no bell
                    await asyncio.sleep(0.02)
            yield toy
        finally:
            process.kill()
            await toy.client.aclose()
