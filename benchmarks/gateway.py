"""The gateway beside a direct connection, in one run: the first byte, one stream as fast as it goes, and 200 streams at once.

The model server is the toy that stands in for vLLM: a real one is slower, so what is added weighs less. `python -m benchmarks.gateway`
reads what to measure as JSON from stdin and writes what it saw to stdout, so that the client has a process of its own.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
import msgspec
import psutil
import uvloop
from litestar import Litestar
from msgspec import Struct
from msgspec.structs import replace

from api.app import create_app
from api.exchange import Exchange
from benchmarks.report import Figure, Section
from benchmarks.servers import Server, serving
from domain.deployments.queries import Route
from domain.ids import DeploymentId
from tests.house import eventually, free_port
from tests.toy_server import SERVE

REQUESTS = 400
EVENTS = 30_000
ROUNDS = 5
STREAMS = 200
WORDS = 60
PACE_SECONDS = 0.05
"""Twenty words a second each, as a busy server gives them."""
MOST_ADDED_MS = 3.0
LEAST_SHARE = 0.95
MOST_GROWTH = 8 * 1024 * 1024
"""Bytes that 200 streams may take: 40 KiB each."""
TOY = "BENCHMARK_TOY_PORT"


class Probe(Struct, frozen=True):
    """What to ask of which ports, in turn, so often; each time so many streams at once."""

    ports: list[int]
    words: int
    times: int
    streams: int = 1


class Seen(Struct, frozen=True):
    """Seconds to the first byte, and to the last, of every stream, by port."""

    first: dict[int, list[float]]
    last: dict[int, list[float]]


def gateway() -> Litestar:
    """Make the API with one model, served by the toy."""
    app = create_app()
    now = datetime.now(UTC)
    here = Route(deployment_id=DeploymentId("toy"), address="127.0.0.1", port=int(os.environ[TOY]), names=["qwen"], created_at=now)

    async def routes() -> Sequence[Route]:
        return [here]

    async def deployed(_: str) -> bool:
        return False

    async def lead() -> None:
        app.state.gateway = replace(app.state.gateway, exchange=Exchange(routes, deployed))

    app.on_startup.append(lead)
    return app


def section(folder: Path) -> Section:
    """Measure and report."""
    with _toy("quick") as quick, _toy("paced", "--pace", str(PACE_SECONDS)) as paced:
        settings = {"HOST_TRAINING_PATH": str(folder / "training"), "TRAINING_DB_URL": f"sqlite:///{folder}/bench.db"}
        with serving("benchmarks.gateway:gateway", settings | {TOY: str(quick)}, folder) as door:
            figures = [*_first_byte(quick, door), *_throughput(quick, door)]
        with serving("benchmarks.gateway:gateway", settings | {TOY: str(paced)}, folder) as door:
            figures += _many(paced, door)
    how = (
        f"one request after another, direct and through the gateway in turn ({REQUESTS} each); one stream of {EVENTS:,} events, {ROUNDS} "
        f"times each; {STREAMS} streams of {WORDS} words at {1 / PACE_SECONDS:.0f} words/s; client, gateway and toy share the cores"
    )
    return Section(title="The gateway, beside a direct connection", how=how, figures=figures)


def _first_byte(toy: int, door: Server) -> Iterator[Figure]:
    seen = _measure(Probe([toy, door.port], words=1, times=REQUESTS))
    direct, through = sorted(seen.first[toy]), sorted(seen.first[door.port])
    added = (median(through) - median(direct)) * 1000
    yield Figure(what="first byte, direct", value=_spread(direct))
    yield Figure(what="first byte, gateway", value=_spread(through))
    yield Figure(what="added, median", value=f"{added:.2f} ms", goal=f"≤ {MOST_ADDED_MS:g} ms", met=added <= MOST_ADDED_MS)


def _throughput(toy: int, door: Server) -> Iterator[Figure]:
    before = door.cpu_seconds()
    seen = _measure(Probe([toy, door.port], words=EVENTS, times=ROUNDS))
    cost = (door.cpu_seconds() - before) / ROUNDS / EVENTS * 1e6
    direct, through = (EVENTS / median(seen.last[port]) for port in (toy, door.port))
    share = through / direct
    yield Figure(what="one stream, direct", value=f"{direct:,.0f} events/s")
    yield Figure(what="one stream, gateway", value=f"{through:,.0f} events/s, {cost:.1f} µs of a core each")
    yield Figure(what="of direct", value=f"{share:.0%}", goal=f"≥ {LEAST_SHARE:.0%}", met=share >= LEAST_SHARE)


def _many(toy: int, door: Server) -> Iterator[Figure]:
    direct = median(_measure(Probe([toy], WORDS, 1, STREAMS)).last[toy])
    _measure(Probe([door.port], 2, 1, STREAMS))  # what a first load allocates for good is not what streams take
    process = psutil.Process(door.pid)
    before = process.memory_info().rss
    with _client(Probe([door.port], WORDS, 1, STREAMS)) as client:
        sizes = list[int]()
        while client.poll() is None:
            sizes.append(process.memory_info().rss)
            time.sleep(0.05)
        through = median(_result(client).last[door.port])
    growth, share = max(sizes) - before, direct / through
    yield Figure(what=f"{STREAMS} streams, direct", value=f"{direct:.2f} s each")
    yield Figure(what=f"{STREAMS} streams, gateway", value=f"{through:.2f} s each ({share:.0%})", goal="≥ 95%", met=share >= LEAST_SHARE)
    taken = f"{growth / 2**20:.1f} MiB over {before / 2**20:.0f} MiB"
    yield Figure(what="memory they take", value=taken, goal=f"≤ {MOST_GROWTH / 2**20:.0f} MiB", met=growth <= MOST_GROWTH)


def _spread(seconds: list[float]) -> str:
    return f"p50 {median(seconds) * 1000:.2f} ms, p99 {seconds[len(seconds) * 99 // 100] * 1000:.2f} ms"


@contextmanager
def _toy(name: str, *switches: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-S", str(SERVE), *switches, "serve", name, "--port", str(port), "--served-model-name", "qwen"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as toy:
        try:
            eventually(lambda: toy.poll() is None and _answers(port))
            yield port
        finally:
            toy.kill()


def _answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
    return False


def _measure(probe: Probe) -> Seen:
    with _client(probe) as client:
        return _result(client)


@contextmanager
def _client(probe: Probe) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.gateway"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        client.stdin.write(msgspec.json.encode(probe))
        client.stdin.close()
        yield client


def _result(client: subprocess.Popen[bytes]) -> Seen:
    assert client.stdout is not None
    said = client.stdout.read()
    if client.wait():
        message = "the client broke; its words are above"
        raise RuntimeError(message)
    return msgspec.json.decode(said, type=Seen)


async def _probe(probe: Probe) -> Seen:
    seen = Seen({port: [] for port in probe.ports}, {port: [] for port in probe.ports})
    warm = {port: [await asyncio.open_connection("127.0.0.1", port) for _ in range(probe.streams)] for port in probe.ports}
    for _ in range(probe.times):
        for port in probe.ports:
            for first, last in await asyncio.gather(*(_stream(*each, probe.words) for each in warm[port])):
                seen.first[port].append(first)
                seen.last[port].append(last)
    return seen


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: int) -> tuple[float, float]:
    """Ask for a stream; seconds to its first byte and to its last."""
    asked = {"model": "qwen", "stream": True, "max_tokens": words, "messages": [{"role": "user", "content": "how are you"}]}
    body = msgspec.json.encode(asked)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    begin = time.perf_counter()
    writer.write(head.encode() + body)
    status = await reader.readuntil(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 200"), status
    piece = await reader.read(2**18)
    first, events, tail = time.perf_counter() - begin, piece.count(b"\n\n"), piece[-8:]
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        piece = await reader.read(2**18)
        assert piece, "the stream broke off"
        events += piece.count(b"\n\n")
        tail = (tail + piece)[-8:]
    assert abs(events - words) <= 2, events  # noqa: PLR2004 - the two that end it; a mark cut in two by a read is not seen
    return first, time.perf_counter() - begin


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_probe(msgspec.json.decode(sys.stdin.buffer.read(), type=Probe)))))
