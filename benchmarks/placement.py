"""What goes where, for as many waiting runs and hosts as a large site has: seconds, and how they grow."""

import random
import time
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

from benchmarks.report import Figure, Section
from domain.hosts.gpu import Gpu
from domain.ids import HostName, ProcessId
from domain.processes.placement import Place, Wish, place
from domain.processes.process import Resources

SIZES = (1_000, 2_500, 5_000, 10_000)
WISHES_PER_HOST = 10
GPUS, SLOTS = 8, 8
"""Of each host."""
TIMES = 15
GOAL = 1.0
"""Seconds for the largest size."""
GROWTH_GOAL = 2.0
"""Times the seconds per run of the smallest size, which fits a processor's cache; growing with the square would be 10 times."""
TYPES = ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA L40S")
AT = datetime(2025, 11, 20, tzinfo=UTC)


def section(_: Path) -> Section:
    """Place on hosts that are idle, and on hosts where most is taken and most must wait."""
    figures = [figure for title, taken in (("idle hosts", 0.0), ("three GPUs in four taken", 0.75)) for figure in _figures(title, taken)]
    how = (
        f"one host of {GPUS} GPUs for every {WISHES_PER_HOST} waiting runs, of {len(TYPES)} types; runs of 0 to {GPUS} GPUs, three "
        f"priorities, half of them name a type; the fastest of {TIMES}, in turns; computing time, "
        "without reading or writing rows."
    )
    return Section(title="Placement of waiting runs", how=how, figures=figures)


def _figures(title: str, taken: float) -> list[Figure]:
    figures, smallest = list[Figure](), 0.0
    for size, (seconds, placed) in _measured(taken).items():
        smallest = smallest or seconds / size
        growth = seconds / size / smallest
        last = size == SIZES[-1]
        value = f"{seconds * 1000:.0f} ms ({seconds / size * 1e6:.1f} µs each, {growth:.2f} × those of {SIZES[0]:,}; {placed:,} placed)"
        goal = f"< {GOAL:g} s, ≤ {GROWTH_GOAL:g} ×" if last else ""
        met = seconds < GOAL and growth <= GROWTH_GOAL if last else None
        figures.append(Figure(what=f"{size:,} runs, {title}", value=value, goal=goal, met=met))
    return figures


def _measured(taken: float) -> dict[int, tuple[float, int]]:
    """By size, the seconds of computing, the fastest of several, and how many were placed. In turns, so that all have the same machine."""
    chance = random.Random(1)  # noqa: S311 - chance that can be repeated is what a measurement needs
    asked = {
        size: (
            [_wish(number, chance) for number in range(size)],
            [_host(number, taken, chance) for number in range(size // WISHES_PER_HOST)],
        )
        for size in SIZES
    }
    best = dict[int, tuple[float, int]]()
    for _ in range(TIMES):
        for size, (wishes, places) in asked.items():
            begin = time.process_time()
            placed = len(place(wishes, places))
            best[size] = min(best.get(size, (inf, 0)), (time.process_time() - begin, placed))
            assert 0 < placed < size
    return best


def _host(number: int, taken: float, chance: random.Random) -> Place:
    host, holder = HostName(f"gpu-{number:04}"), ProcessId("proc_other")
    type_ = TYPES[number % len(TYPES)]
    gpus = [Gpu(host=host, number=each, type=type_, holder=holder if chance.random() < taken else None) for each in range(GPUS)]
    return Place(host=host, folder="shared", slots=SLOTS - sum(not gpu.free for gpu in gpus), gpus=gpus)


def _wish(number: int, chance: random.Random) -> Wish:
    resources = Resources(
        gpu_count=chance.choice((None, 0, 1, 1, 2, 4, 8)), gpu_type=chance.choice((None, None, None, "A100", "H100", "L40S"))
    )
    return Wish(ProcessId(f"proc_{number:05}"), chance.randrange(3), AT + timedelta(seconds=chance.randrange(86_400)), resources)
