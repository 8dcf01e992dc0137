"""The servers of a soak, Redis and PostgreSQL: private, real, and easily hurt."""

import asyncio
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import psutil
import redis as client_of_redis

from infra import embedded

BRIEFLY = 60.0
"""Seconds within which a part is up again, on a very busy machine."""


class Redis:
    """The bell."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self.lock = threading.Lock()
        self.url = self._start()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._open.close()

    def start(self) -> None:
        """Start it where it was."""
        self._start()

    def flush(self) -> None:
        """Let it forget everything."""
        with client_of_redis.Redis(unix_socket_path=unquote(self.url.removeprefix("unix://"))) as client:
            client.flushall()

    def _start(self) -> str:
        server = self._open.enter_context(embedded.redis(self._folder))
        self._process = server.process
        return server.url


class Postgresql:
    """The rows. It survives its own kills here, since a commit is one only when it is written, though not a power cut."""

    def __init__(self, folder: Path, server: embedded.Postgresql) -> None:
        self._folder = folder
        self._server = server
        self.url = server.url
        self.lock = threading.Lock()
        self.tell("ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()")

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        processes = self._processes()
        processes[0].send_signal(signal.SIGQUIT)
        psutil.wait_procs(processes, BRIEFLY)

    def start(self) -> None:
        """Start it where it was, recovery included."""
        end = time.monotonic() + BRIEFLY
        while True:
            try:
                return self._server.start()
            except (subprocess.SubprocessError, AssertionError):
                if time.monotonic() > end:
                    raise

    def freeze(self) -> list[psutil.Process]:
        """Let it fall silent without a reset; what `thaw` needs."""
        first = self._processes()[0]
        first.suspend()
        # A stop takes effect a moment after it was sent, and until then a child may be born that nobody would stop.
        while first.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return processes

    def tell(self, *statements: str) -> None:
        """Tell it something, past all code of ours."""
        asyncio.run(_told(self.url, statements))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Ask it something."""
        return asyncio.run(_rows(self.url, query))

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0]))
        return [first, *first.children()]


def thaw(processes: list[psutil.Process]) -> None:
    """Let frozen processes go on."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


async def _told(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url, timeout=BRIEFLY)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _rows(url: str, query: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url, timeout=BRIEFLY)
    try:
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
