"""Parts of a house as forks of a process that has read all modules already: there are hundreds, and most of a start is reading those.

Real starts are made by `tuneyard up`, the soak and the benchmarks.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from api.app import create_app
from infra import failpoints
from infra.settings import load

READ_BEFORE = (
    "workers.host",
    "httpcore",
    "anyio._backends._asyncio",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
)
"""What a start reads late, too."""
LARGEST_ORDER = 2**17
"""Bytes."""


class Child:
    """As much of `subprocess.Popen` as tests need."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = int(told.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or the negative signal; None while it lives."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired when it does not come."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._told.recv(32))
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class Nursery:
    """Where they are born."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, env=environment)

    def close(self) -> None:
        """End it; parts that still live go on."""
        self._line.close()
        self._process.wait()

    def begin(self, module: str, environment: dict[str, str], cwd: Path, log: IO[bytes]) -> Child:
        """Run `python -m <module>` in a session of its own, with this environment; what it says goes to the log."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            order = json.dumps([module, environment, str(cwd)]).encode()
            socket.send_fds(self._line, [order], [log.fileno(), theirs.fileno()])
        return Child(ours)


def _serve(line: socket.socket) -> None:
    for module in READ_BEFORE:
        importlib.import_module(module)
    create_app(load({}))  # the first of a process fills caches
    gc.collect()
    gc.freeze()  # what is never touched stays one in memory
    while True:
        order, fds, _, _ = socket.recv_fds(line, LARGEST_ORDER, 2)
        if not order:
            return
        if os.fork() == 0:
            line.close()
            log, told = fds
            module, environment, cwd = json.loads(order)
            _tend(module, environment, cwd, log, socket.socket(fileno=told))
            return
        for fd in fds:
            os.close(fd)


def _tend(module: str, environment: dict[str, str], cwd: str, log: int, told: socket.socket) -> None:
    """Beget the part and tell of its birth and its end; in the part itself, be it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        told.send(str(pid).encode())
        # Told before it is reaped, so that nobody sends a signal to a number that has become another's.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        code = ended.si_status if ended and ended.si_code == os.CLD_EXITED else -(ended.si_status if ended else 0)
        with suppress(OSError):
            told.send(str(code).encode())
        os.waitpid(pid, 0)
        os._exit(0)
    told.close()
    os.setsid()
    _stand(log, environment, cwd, [module])
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stand(log: int, environment: dict[str, str], cwd: str, argv: Sequence[str]) -> None:
    """Be as one that was started from nothing."""
    for fd in (1, 2):
        os.dup2(log, fd)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [*argv]
    importlib.reload(failpoints)  # the only module that heeds the environment while it is read


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever tends a part is nobody's to wait for
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor
        os.dup2(nothing.fileno(), 0)
    _serve(socket.socket(fileno=int(sys.argv[1])))
