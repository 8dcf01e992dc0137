"""A bounded client: so many connections that each ask again as soon as they are answered, for so many seconds.

`python -m benchmarks.load` reads a Load as JSON from stdin and writes a Tally to stdout, so that it has a process of its own.
"""

import asyncio
import subprocess
import sys
import time
from typing import Any

import msgspec
import uvloop
from msgspec import Struct
from typing_extensions import override

CONNECTIONS = 16
"""Enough to keep one server process busy at all times."""
LONGEST_ANSWER_SECONDS = 10.0


class Load(Struct, frozen=True, kw_only=True):
    """What to ask, how often at once, and for how long."""

    port: int
    method: str
    path: str
    """`{k}` in it becomes each number below `around` in turn."""
    around: int = 1
    body: str | None = None
    """JSON; `{n}` in it becomes a number that is never given twice."""
    first: int = 0
    """Where those numbers begin."""
    seconds: float = 1.0
    connections: int = CONNECTIONS


class Tally(Struct, frozen=True, kw_only=True):
    """What came of it; an answer other than 2xx ends the measuring instead."""

    answers: int
    seconds: float
    latencies: list[float]
    """Seconds, sorted."""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


def measure(load: Load) -> Tally:
    """Load a server from another process; RuntimeError with its words when it breaks."""
    command = [sys.executable, "-m", "benchmarks.load"]
    limit = load.seconds + LONGEST_ANSWER_SECONDS * 2
    done = subprocess.run(command, input=msgspec.json.encode(load), capture_output=True, timeout=limit, check=False)
    if done.returncode:
        message = f"{load.method} {load.path}: {done.stderr.decode(errors='replace').strip()[-600:]}"
        raise RuntimeError(message)
    return msgspec.json.decode(done.stdout, type=Tally)


class _Numbers:
    """Requests with a number of their own in each."""

    def __init__(self, load: Load) -> None:
        self._head = f"{load.method} {load.path} HTTP/1.1\r\nHost: localhost:{load.port}\r\nAccept: */*\r\n"
        self._around = load.around
        self._body = load.body
        self._number = load.first

    def next(self) -> bytes:
        """Return the next request."""
        self._number += 1
        head = self._head.replace("{k}", str(self._number % self._around))
        if self._body is None:
            return f"{head}\r\n".encode()
        body = self._body.replace("{n}", str(self._number)).encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Asks, reads the whole answer, asks again."""

    def __init__(self, numbers: _Numbers, until: float, latencies: list[float]) -> None:
        self._numbers = numbers
        self._until = until
        self._latencies = latencies
        self._transport: Any = None
        self._buffer = b""
        self._asked = 0.0
        self.done = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    @override
    def data_received(self, data: bytes) -> None:
        """Note a whole answer, and ask again until the time is over."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        now = time.perf_counter()
        self._latencies.append(now - self._asked)
        if not head.startswith(b"HTTP/1.1 2"):
            self._end(RuntimeError(self._buffer.decode(errors="replace")))
        elif now < self._until:
            self._ask()
        else:
            self._end()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """A server does not hang up while it is asked."""
        self._end(exc or RuntimeError("the server hung up"))

    def _ask(self) -> None:
        self._buffer = b""
        self._asked = time.perf_counter()
        self._transport.write(self._numbers.next())

    def _end(self, problem: Exception | None = None) -> None:
        if not self.done.done():
            if problem:
                self.done.set_exception(problem)
            else:
                self.done.set_result(None)
            self._transport.abort()


def _length(head: bytes) -> int:
    before, found, after = head.lower().partition(b"content-length:")
    del before
    return int(after.partition(b"\r\n")[0]) if found else 0


async def _measure(load: Load) -> Tally:
    loop = asyncio.get_running_loop()
    numbers, latencies = _Numbers(load), list[float]()
    begin = time.perf_counter()
    connections = [
        (await loop.create_connection(lambda: _Connection(numbers, begin + load.seconds, latencies), "127.0.0.1", load.port))[1]
        for _ in range(load.connections)
    ]
    async with asyncio.timeout(load.seconds + LONGEST_ANSWER_SECONDS):
        await asyncio.gather(*(connection.done for connection in connections))
    return Tally(answers=len(latencies), seconds=time.perf_counter() - begin, latencies=sorted(latencies))


def _main() -> None:
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    try:
        tally = uvloop.run(_measure(load))
    except (RuntimeError, OSError) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
    sys.stdout.buffer.write(msgspec.json.encode(tally))


if __name__ == "__main__":
    _main()
