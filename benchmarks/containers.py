"""What a container adds to a start: the same script by `docker exec`, in a container of its own, and as a plain process."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _pytest.outcomes import Skipped

from benchmarks.report import Figure, Section
from benchmarks.starts import TRAINER, launch
from infra import embedded
from tests.docker import IMAGE, PROGRAMS, PrivateEngine, private_engine
from tests.house import House

LAUNCHES = 40
GOAL = 0.250
"""Seconds that `docker exec` may add at the median."""
DATA, SCRIPTS = "/data", "/scripts"
"""Where a container sees the training directory and the scripts."""
OWN = "a container of its own"
TITLES = {"local": "a plain process", "exec": "docker exec", "run": OWN}


def section(folder: Path) -> Section:
    """Launch by turns, so that all meet the same machine."""
    how = (
        f"{LAUNCHES} launches each, by turns, each after the one before has ended; a private docker engine whose container has this "
        "machine's programs; the trainer is a bash script whose first line writes the time; from before the request to that time."
    )
    try:
        with private_engine() as engine, embedded.redis(folder / "redis") as redis:
            took = _launches(folder, engine, redis.url)
    except Skipped as reason:
        return Section(title="Launch in a container", how=how, figures=[], remarks=[f"not measured: {reason}"])
    return Section(title="Launch in a container", how=how, figures=_figures(took))


def _figures(took: dict[str, list[float]]) -> list[Figure]:
    middle = {mode: statistics.median(seconds) for mode, seconds in took.items()}
    figures = []
    for mode, seconds in took.items():
        added, ratio = middle[mode] - middle["local"], middle[mode] / middle["local"]
        value = f"{middle[mode] * 1000:.0f} ms, p90 {sorted(seconds)[int(len(seconds) * 0.9)] * 1000:.0f} ms"
        more = "" if mode == "local" else f" ({added * 1000:+.0f} ms, {ratio:.2f} × a plain process)"
        goal = f"≤ +{GOAL * 1000:.0f} ms" if mode == "exec" else ""
        figures.append(Figure(what=f"{TITLES[mode]}, median", value=value + more, goal=goal, met=added <= GOAL if goal else None))
    return figures


def _launches(folder: Path, engine: PrivateEngine, redis_url: str) -> dict[str, list[float]]:
    """Seconds that each start took, by mode."""
    with _house(folder / "exec", redis_url, engine, DOCKER_CONTAINER_NAME="bench") as exec_, _own(folder / "run", redis_url, engine) as own:
        mounts = (f"{exec_.training}:{DATA}", f"{exec_.scripts}:{SCRIPTS}:ro")
        engine.container("bench", mounts=mounts)
        local = exec_.project("local", script=TRAINER)
        exec_.ok("PATCH", f"/projects/{local}", json={"executor": "local"})
        where = {"local": (exec_, local), "exec": (exec_, exec_.project("exec", script=TRAINER)), "run": (own, own.project(script=TRAINER))}
        took: dict[str, list[float]] = {mode: [] for mode in where}
        for _ in range(LAUNCHES):
            for mode, (house, project) in where.items():
                took[mode].append(launch(house, project))
        return took


@contextmanager
def _own(folder: Path, redis_url: str, engine: PrivateEngine) -> Iterator[House]:
    mounts = ",".join([*PROGRAMS, f"{folder}/scripts:{SCRIPTS}:ro"])
    words = {"TUNEYARD_DOCKER_MODE": "run", "TUNEYARD_DOCKER_IMAGE": IMAGE, "TUNEYARD_DOCKER_MOUNTS": mounts}
    with _house(folder, redis_url, engine, **words) as house:
        yield house


@contextmanager
def _house(folder: Path, redis_url: str, engine: PrivateEngine, **words: str) -> Iterator[House]:
    house = House(
        folder,
        f"sqlite:///{folder}/training.db",
        redis_url,
        TUNEYARD_HOST=folder.name,  # one Redis for both: each host has a bell of its own
        TUNEYARD_EXECUTOR="docker",
        DOCKER_HOST=engine.address,
        DOCKER_WORKING_DIR=SCRIPTS,
        TUNEYARD_CONTAINER_TRAINING_PATH=DATA,
        **words,
    )
    try:
        yield house.start()
    finally:
        house.close()
