"""The processes that `tuneyard up` owns: each writes to a log of its own, is out of reach of the terminal's Ctrl-C, and ends when we do."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

RESTART_SECONDS = (0.5, 30.0)
"""The first pause before a dead child is started again, and the longest; each death in quick succession doubles it."""
SETTLED_SECONDS = 60.0
"""A child that lived so long did not die of how it was started."""

_PREFIX = re.compile(r"^\S+Z [A-Z]+ +[\w.]+: ")
"""Time, level and name of a log line: what a person who reads one line needs least."""


class Child:
    """One program, started again and again if need be."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.pidfd = -1
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause = RESTART_SECONDS[0]
        if log.exists():
            log.replace(log.with_suffix(".log.1"))

    def start(self) -> None:
        """Start it; what it says goes to its log."""
        with self.log.open("ab") as log:
            self._start(log, log)

    def start_and_hear(self) -> str:
        """Start it, and return the first line it prints; empty when it ends without a word. Errors go to its log."""
        with self.log.open("ab") as log:
            process = self._start(subprocess.PIPE, log)
        with process.stdout or contextlib.nullcontext() as words:
            return words.readline().decode().strip() if words else ""

    @property
    def code(self) -> int | None:
        """Its exit code once it has ended."""
        return self._process.poll() if self._process else None

    def pause(self) -> float:
        """Seconds to wait before it is started again."""
        if time.monotonic() - self._started_at > SETTLED_SECONDS:
            self._pause = RESTART_SECONDS[0]
        pause, self._pause = self._pause, min(2 * self._pause, RESTART_SECONDS[1])
        return pause

    def last_words(self, count: int = 3) -> list[str]:
        """The end of its log: what it complained of if it did, else whatever it said last."""
        lines = self.log.read_text(errors="replace").splitlines()[-200:]
        return [_PREFIX.sub("", line) for line in ([line for line in lines if "ERROR" in line or "Error" in line] or lines)[-count:]]

    def end(self, patience: float) -> None:
        """Ask it to end, and make it end when it has not done so within `patience` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        self._process.wait()
        self._close()

    def _start(self, out: int | IO[bytes], err: IO[bytes]) -> "subprocess.Popen[bytes]":
        self._close()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._environment, start_new_session=True
        )
        self._started_at = time.monotonic()
        self.pidfd = os.pidfd_open(self._process.pid)
        return self._process

    def _close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd = -1


def module(name: str, *arguments: str) -> list[str]:
    """The command of a module of ours; -P keeps a folder of the same name in the working directory from taking its place."""
    return [sys.executable, "-P", "-m", name, *arguments]


def tied(*command: str) -> list[str]:
    """The command as one that ends with us, even when we are killed."""
    return module("infra.embedded", "tie", str(os.getpid()), *command)


def echo(child: Child) -> None:
    """Copy what a child writes to its log to our errors, for as long as we live."""

    def copy() -> None:
        with child.log.open(errors="replace") as log:
            while True:
                for line in log:
                    sys.stderr.write(f"{child.name:>6} │ {line}")
                time.sleep(0.1)

    threading.Thread(target=copy, daemon=True).start()
