"""From `POST run` to the first instruction of the trainer: with the bell, on both databases, and with Redis dead."""

import time
from pathlib import Path

from benchmarks.databases import postgresql
from benchmarks.report import Figure, Section
from infra import embedded
from tests.house import House, eventually

LAUNCHES, LAUNCHES_WITHOUT_REDIS = 100, 12
P50_GOAL, P99_GOAL, SWEEP = 0.150, 0.500, 3.0
"""Seconds."""
BEGAN = "began"
TRAINER = f'echo $EPOCHREALTIME > "$TUNEYARD_OUTPUT_DIR/{BEGAN}"\n'
"""A trainer whose first instruction is to look at the clock. It is a shell, as the documents' own start command is."""


def section(folder: Path) -> Section:
    """Launch one run after another, and compare two readings of this machine's clock."""
    figures = []
    with embedded.redis(folder / "redis") as redis, postgresql(folder / "postgresql") as postgresql_url:
        for title, url in (("SQLite", f"sqlite:///{folder}/training.db"), ("PostgreSQL", postgresql_url)):
            house = House(folder / title, url, redis.url).start()
            try:
                figures += _figures(title, _launches(house, LAUNCHES))
                if url == postgresql_url:
                    redis.process.kill()
                    redis.process.wait()
                    figures.append(_figure("PostgreSQL, Redis dead, slowest", max(_launches(house, LAUNCHES_WITHOUT_REDIS)), SWEEP))
            finally:
                house.close()
    how = (
        f"{LAUNCHES} launches per database ({LAUNCHES_WITHOUT_REDIS} with Redis dead), each after the one before has ended, in a house of "
        "API and worker processes; the trainer is a bash script whose first line writes the time; from before the request to that time."
    )
    return Section(title="POST run → first instruction of the trainer", how=how, figures=figures)


def _launches(house: House, count: int) -> list[float]:
    """Seconds that each start took, sorted."""
    project = f"project-{time.time_ns()}"
    house.project(project, script=TRAINER)
    return sorted(launch(house, project) for _ in range(count))


def launch(house: House, project: str) -> float:
    """Launch a run and wait for its end; seconds from before the request to its first instruction."""
    before = time.time()
    run = house.launch(project)
    run_id = house.run(project, run)["id"]
    began = house.training / "runs" / run_id / "output" / BEGAN
    text = eventually(lambda: began.exists() and began.read_text())
    assert house.ended(project, run)["status"] == "succeeded"
    return float(text or 0) - before


def _figures(title: str, seconds: list[float]) -> list[Figure]:
    p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    return [_figure(f"{title}, p50", p50, P50_GOAL), _figure(f"{title}, p99", p99, P99_GOAL)]


def _figure(what: str, seconds: float, goal: float) -> Figure:
    return Figure(what=what, value=f"{seconds * 1000:.0f} ms", goal=f"< {goal * 1000:.0f} ms", met=seconds < goal)
