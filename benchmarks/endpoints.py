"""Reads and writes over HTTP, beside two programs that do the same: the documents' own shape, and the floor.

Each is one process of uvicorn under the same settings and the same bounded client, one at a time, in turns; what counts is the median
of the rounds' ratios. Ours and the floor have a copy of the same PostgreSQL database each, on one server that syncs to disk; the documents'
shape has its SQLite file, which syncs too.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from msgspec import Struct
from msgspec.structs import replace

from benchmarks import seed
from benchmarks.databases import copy_database, postgresql
from benchmarks.load import CONNECTIONS, Load, Tally, measure
from benchmarks.report import Figure, Section
from benchmarks.servers import Server, serving
from benchmarks.statements import asked, beyond
from infra import embedded
from tests.house import PATIENCE

ROUNDS = 5
SECONDS = 1.0
WARM_UP_SECONDS = 0.5
READS_BESIDE_DOCUMENTS, WRITES_BESIDE_DOCUMENTS = 4.0, 2.0
READS_BESIDE_FLOOR, WRITES_BESIDE_FLOOR = 0.6, 0.35
OURS, DOCUMENTS, FLOOR = "ours", "documents' shape", "floor"


class Endpoint(Struct, frozen=True, kw_only=True):
    """A request that all three programs answer."""

    title: str
    method: str
    path: str
    """`{k}` in it becomes the number of a project."""
    body: dict[str, Any] | None = None
    """`{n}` in it becomes a number of its own in each request."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method == "POST"


RUNS = f"/projects/{quote(seed.PROJECT)}/runs"
RUNS_OF_ANY = f"/projects/{quote(seed.NAME)}{{k}}/runs"
ENDPOINTS = [
    Endpoint(title="GET run", method="GET", path=f"{RUNS}/{seed.RUN}"),
    Endpoint(title=f"GET projects, {seed.PROJECTS} of them", method="GET", path=f"/projects?page_size={seed.PROJECTS}"),
    Endpoint(title="POST project", method="POST", path="/projects", body=seed.project("bench-{n}")),
    Endpoint(title="POST run", method="POST", path=RUNS_OF_ANY, body={"hyperparameters": {"learning_rate": 2e-5}}),
]


class Measured(Struct, frozen=True, kw_only=True):
    """What one program did at one endpoint in one round."""

    per_second: float
    p99: float
    """Seconds."""
    cpu: float
    """Seconds of a core that its server process used per answer."""


def section(folder: Path) -> Section:
    """Measure every endpoint of every program."""
    with ExitStack() as stack:
        url = stack.enter_context(postgresql(folder / "postgresql"))
        redis = stack.enter_context(embedded.redis(folder / "redis"))
        servers = _servers(stack, folder, url, redis.url)
        log = folder / "postgresql" / "log"
        figures, remarks = list[Figure](), list[str]()
        for place, endpoint in enumerate(ENDPOINTS):
            remarks += _compare_statements(endpoint, servers, partial(asked, url, log))
            rounds = _in_turns(endpoint, servers, first=place * 10_000_000)
            figures += _figures(endpoint, rounds)
            remarks.append(_where(endpoint, rounds))
    how = (
        f"uvicorn (uvloop, httptools), one process each; {CONNECTIONS} connections that ask again at once, from another process; medians "
        f"of {ROUNDS} rounds of {SECONDS:g} s in turns; reads first, so that lists stay short; no host worker. PostgreSQL and SQLite sync."
    )
    return Section(title="HTTP endpoints, beside two other programs", how=how, figures=figures, remarks=remarks)


def _servers(stack: ExitStack, folder: Path, database_url: str, redis_url: str) -> dict[str, Server]:
    """Start all three with the same things in them."""
    training = folder / "training"
    ours = {"TRAINING_DB_URL": database_url, "HOST_TRAINING_PATH": str(training), "TUNEYARD_EXECUTOR": "local", "REDIS_URL": redis_url}
    with serving("api.app:create_app", ours, folder) as server:
        seed.seed_over_http(server.port)
    asyncio.run(seed.add_finished_run(database_url))
    copies = {name: copy_database(database_url, name) for name in ("ours", "floor")}
    documents = {"TRAINING_DB_URL": f"sqlite:///{folder}/documents.db", "HOST_TRAINING_PATH": str(folder / "documents")}
    servers = {
        OURS: stack.enter_context(serving("api.app:create_app", ours | {"TRAINING_DB_URL": copies["ours"]}, folder)),
        DOCUMENTS: stack.enter_context(serving("benchmarks.documents_shape:create_app", documents, folder)),
        FLOOR: stack.enter_context(serving("benchmarks.floor:create_app", {"TRAINING_DB_URL": copies["floor"]}, folder)),
    }
    _fill_documents(servers[DOCUMENTS], folder / "documents")
    return servers


def _fill_documents(server: Server, training: Path) -> None:
    """Give the documents' shape what the others have: its files lie in the training directory, its run is named as theirs."""
    for name, content in ((f"datasets/{seed.DATASET}/train.jsonl", seed.LINE), ("configs/train.yaml", seed.YAML)):
        (training / name).parent.mkdir(parents=True)
        (training / name).write_text(content)
    with httpx.Client(base_url=f"http://localhost:{server.port}", timeout=PATIENCE, trust_env=False) as client:
        for number in range(seed.PROJECTS):
            client.post("/projects", json=seed.project(f"{seed.NAME}{number}")).raise_for_status()
        client.post(RUNS, json={"name": seed.RUN}).raise_for_status()


def _compare_statements(endpoint: Endpoint, servers: dict[str, Server], listen: Callable[[Callable[[], object]], list[str]]) -> list[str]:
    """Say what ours asks of its database beside what the floor asks; RuntimeError when floor.py is the floor no more."""
    answers = {name: _ask(endpoint, servers[name]) for name in (OURS, FLOOR)}
    if _shape(answers[OURS]) != _shape(answers[FLOOR]):
        message = f"{endpoint.title}: floor.py does not give our answer: {answers[FLOOR]} instead of {answers[OURS]}"
        raise RuntimeError(message)
    ours, floor = (listen(partial(_ask, endpoint, servers[name])) for name in (OURS, FLOOR))
    more = beyond(ours, floor)
    if more is None:
        message = f"{endpoint.title}: floor.py asks {floor}, ours asks {ours}; bring floor.py up to date"
        raise RuntimeError(message)
    remark = f"{endpoint.title}: both ask {', '.join(floor)}"
    return [remark + (f"; ours also, in the background: {', '.join(more)}" if more else "")]


def _ask(endpoint: Endpoint, server: Server) -> Any:  # noqa: ANN401 - any JSON
    """Ask once; the answer."""
    body = json.dumps(endpoint.body).replace("{n}", uuid4().hex) if endpoint.body is not None else None
    headers = {"Content-Type": "application/json"} if body else {}
    url = f"http://localhost:{server.port}{endpoint.path.replace('{k}', '1')}"
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        return client.request(endpoint.method, url, content=body, headers=headers).raise_for_status().json()


def _shape(answer: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the names of an answer's members, however deep."""
    if isinstance(answer, dict):
        return {name: _shape(value) for name, value in answer.items()}
    return [_shape(each) for each in answer] if isinstance(answer, list) else None


def _in_turns(endpoint: Endpoint, servers: dict[str, Server], *, first: int) -> dict[str, list[Measured]]:
    """Load one program after another, again and again; every round of each."""
    rounds: dict[str, list[Measured]] = {name: [] for name in servers}
    body = json.dumps(endpoint.body) if endpoint.body is not None else None
    load = Load(port=0, method=endpoint.method, path=endpoint.path, around=seed.PROJECTS, body=body, seconds=SECONDS)
    for turn in range(ROUNDS + 1):
        for name, server in servers.items():
            first += 100_000
            before = server.cpu_seconds()
            tally = measure(replace(load, port=server.port, first=first, seconds=SECONDS if turn else WARM_UP_SECONDS))
            if turn:
                rounds[name].append(_measured(tally, server.cpu_seconds() - before))
    return rounds


def _measured(tally: Tally, cpu: float) -> Measured:
    return Measured(per_second=tally.per_second, p99=tally.latencies[int(len(tally.latencies) * 0.99)], cpu=cpu / tally.answers)


def _figures(endpoint: Endpoint, rounds: dict[str, list[Measured]]) -> list[Figure]:
    beside = {
        DOCUMENTS: WRITES_BESIDE_DOCUMENTS if endpoint.writes else READS_BESIDE_DOCUMENTS,
        FLOOR: WRITES_BESIDE_FLOOR if endpoint.writes else READS_BESIDE_FLOOR,
    }
    p99 = median(each.p99 for each in rounds[OURS])
    figures = [Figure(what=endpoint.title, value=f"{_per_second(rounds[OURS]):,.0f}/s, p99 {p99 * 1000:.0f} ms")]
    for name, goal in beside.items():
        ratio = median(ours.per_second / other.per_second for ours, other in zip(rounds[OURS], rounds[name], strict=True))
        value = f"{ratio:.2f} × {_per_second(rounds[name]):,.0f}/s"
        figures.append(Figure(what=f"{endpoint.title} beside the {name}", value=value, goal=f"≥ {goal:g}", met=ratio >= goal))
    return figures


def _per_second(rounds: list[Measured]) -> float:
    return median(each.per_second for each in rounds)


def _where(endpoint: Endpoint, rounds: dict[str, list[Measured]]) -> str:
    """Say how much of an answer is the server process computing."""
    parts = [
        f"{name} {median(each.cpu for each in measured) * 1e6:.0f} of {1e6 / _per_second(measured):.0f} µs"
        for name, measured in rounds.items()
    ]
    return f"{endpoint.title}: per answer the server process computes for {', '.join(parts)}; the rest is waiting"
