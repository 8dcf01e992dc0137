"""What a soak has left when all is quiet again: rows, logs as the API gives them, files, the ledger of the trainings, what still lives."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from domain.runs.artifact import ArtifactType
from infra.files.output import OutputFolder, scan
from tests.house import TERMINAL
from tests.soak.record import Record
from tests.soak.world import PROJECT, World

QUIET_SECONDS = 240.0
"""Within which every run has ended once nobody is hurt any more."""
SUMS_SECONDS = 150.0
"""Within which every sum is taken: what changed while it was read is tried again after a minute."""


class Beat(NamedTuple):
    """One line of the ledger."""

    run: str
    attempt: int
    devices: tuple[str, ...]
    pid: int
    what: str
    at: float


class Move(NamedTuple):
    """One change of a run's or a process's row."""

    kind: str
    subject: str
    owner: str
    status: str
    attempt: int


class Grant(NamedTuple):
    """One change of a GPU's holder, processes named by their runs."""

    at: float
    host: str
    number: int
    before: str | None
    after: str | None


class Attempt(NamedTuple):
    """What a run directory says."""

    printed: list[str]
    """Every line of out.log."""
    code: int | None
    """The true exit code, where one was recorded."""


class Left(NamedTuple):
    """An artifact: what is listed, and what lies on the disk."""

    listed: dict[str, Any]
    size: int
    sums: dict[str, str]
    """sha256 of each file, by its path within the artifact."""


@dataclass
class Evidence:
    """Everything the oracle needs."""

    record: Record
    runs: dict[str, dict[str, Any]]
    """By id, as the API shows them."""
    moves: list[Move]
    grants: list[Grant]
    gpus: list[dict[str, Any]]
    beats: list[Beat]
    control: list[Beat]
    """Of trainings that lived beside Tuneyard, untouched by anybody."""
    attempts: dict[tuple[str, int], Attempt]
    logs: dict[str, list[str]]
    """Every line, page by page."""
    artifacts: dict[str, list[Left]]
    newest: dict[str, int | None]
    """By run: the step of the newest complete checkpoint that lies on the disk."""
    living: dict[int, str] = field(default_factory=dict)


def wait_for_quiet(world: World) -> None:
    """Wait until every run has ended, and every sum is taken; what never happens is for the oracle to judge."""
    _wait(lambda: not _open_runs(world), QUIET_SECONDS)
    _wait(lambda: not world.postgresql.rows("SELECT 1 FROM artifacts WHERE complete AND sha256 IS NULL"), SUMS_SECONDS)


def collect(world: World, control: Path) -> Evidence:
    """Gather all of it."""
    training = world.house.training
    runs = _runs(world)
    return Evidence(
        record=world.record,
        runs=runs,
        moves=[Move(**row) for row in world.postgresql.rows("SELECT kind, subject, owner, status, attempt FROM soak_moves ORDER BY id")],
        grants=_grants(world),
        gpus=world.postgresql.rows("SELECT * FROM gpus ORDER BY host, number"),
        beats=read_ledger(world.ledger),
        control=read_ledger(control),
        attempts={(path.parent.name, int(path.name.rpartition("-")[2])): _attempt(path) for path in training.glob("runs/*/attempt-*")},
        logs={run: world.house.lines(PROJECT, run) for run in runs},
        artifacts={run: _left(world, run) for run in runs},
        newest={run: _newest(training / "runs" / run / "output") for run in runs},
        living=world.trainings(),
    )


def read_ledger(path: Path) -> list[Beat]:
    """Return every line of a ledger, in the order of time."""
    beats = []
    for line in path.read_text().splitlines() if path.exists() else ():
        said = json.loads(line)
        beats.append(Beat(said["run"], said["attempt"], tuple(said["devices"]), said["pid"], said["what"], said["at"]))
    return sorted(beats, key=lambda beat: beat.at)


def _wait(over: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not over() and time.monotonic() < end:
        time.sleep(0.2)


def _open_runs(world: World) -> list[dict[str, Any]]:
    return world.postgresql.rows(f"SELECT id FROM runs WHERE status NOT IN {TERMINAL}")  # noqa: S608 - three words of ours


def _runs(world: World) -> dict[str, dict[str, Any]]:
    ids = [row["id"] for row in world.postgresql.rows("SELECT id FROM runs ORDER BY created_at")]
    return {run: world.house.run(PROJECT, run) for run in ids}


def _grants(world: World) -> list[Grant]:
    owners = {row["id"]: row["owner_id"] for row in world.postgresql.rows("SELECT id, owner_id FROM processes")}
    rows = world.postgresql.rows("SELECT at, host, number, before, after FROM soak_grants ORDER BY id")
    return [
        Grant(each["at"].timestamp(), each["host"], each["number"], owners.get(each["before"]), owners.get(each["after"])) for each in rows
    ]


def _attempt(directory: Path) -> Attempt:
    output, end = directory / "out.log", directory / "exit.json"
    printed = output.read_text().splitlines() if output.exists() else []
    return Attempt(printed, json.loads(end.read_text())["code"] if end.exists() else None)


def _left(world: World, run: str) -> list[Left]:
    address = f"/projects/{PROJECT}/runs/{run}/artifacts"
    found = []
    for each in world.house.ok("GET", address)["items"]:
        listed = world.house.ok("GET", f"{address}/{each['id']}")
        sums = _sums(Path(listed["path"].removeprefix("file://")))
        found.append(Left(listed, sum(size for size, _ in sums.values()), {name: digest for name, (_, digest) in sums.items()}))
    return found


def _sums(place: Path) -> dict[str, tuple[int, str]]:
    if place.is_file():
        return {".": (place.stat().st_size, sha256(place.read_bytes()).hexdigest())}
    files = OutputFolder(place).files()
    return {name: (size, sha256((place / name).read_bytes()).hexdigest()) for name, size in files.items()}


def _newest(output: Path) -> int | None:
    steps = [found.step or 0 for found in scan(output).findings if found.type is ArtifactType.checkpoint and found.complete]
    return max(steps, default=None)
