"""Programs under load: each one process of uvicorn with the same settings, on a port of its own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from msgspec import Struct

from tests.house import PATIENCE, REPOSITORY, eventually, free_port, inherited

SETTINGS = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
"""The same for all."""


class Server(Struct, frozen=True):
    """A program that answers."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return what its process has used of a core so far."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)


@contextmanager
def serving(factory: str, environment: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Serve the application that `module:function` makes, and give it once `/healthz` answers."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1", "--port", str(port), *SETTINGS]
    log = folder / f"{factory.replace(':', '.')}.log"
    whole = {**inherited(), "PYTHONPATH": str(REPOSITORY), **environment}
    with log.open("ab") as output, subprocess.Popen(command, env=whole, stdout=output, stderr=output, cwd=folder) as process:
        try:
            if not eventually(lambda: process.poll() is not None or _answers(port)) or process.poll() is not None:
                message = f"{factory} did not start: {log.read_text(errors='replace')[-2000:]}"
                raise RuntimeError(message)
            yield Server(port, process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


def _answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    return False
