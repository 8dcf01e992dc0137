"""What will happen in a soak, from its seed alone: the same seed and length give the same faults and the same runs."""

from random import Random
from typing import Literal, NamedTuple

HOSTS = ("soak-1", "soak-2")
GPUS = 2
LEASE_SECONDS = 3.0
GRACE_SECONDS = 1.0
SHORTEST_RUN, LONGEST_RUN = 1.0, 4.0
"""Seconds of a training that nobody disturbs."""
RUNS_PER_MINUTE = 30.0

FAULTS_PER_MINUTE = {
    "one database connection": 56.0,
    "all database connections": 8.0,
    "Redis": 24.0,
    "shim": 24.0,
    "worker": 8.0,
    "API": 5.0,
    "trainer": 4.0,
    "trainer with its shim": 4.0,
    "worker deployed": 2.0,
    "worker frozen": 1.0,
    "worker frozen and replaced": 0.6,
    "Redis flushed": 4.0,
    "Redis gone": 0.6,
    "PostgreSQL restarted": 1.5,
    "PostgreSQL gone": 0.4,
    "PostgreSQL silent": 0.4,
}
"""Most are cheap; what costs a second of CPU to start again is rarer. On two cores this leaves half of them to the runs."""
KILLS = ("one database connection", "all database connections", "Redis", "shim", "worker", "API", "PostgreSQL restarted")
"""Those that count as kills of the parts that issue and matrix name."""
WINDOWS = ("Redis gone", "PostgreSQL gone", "PostgreSQL silent")
"""Those during which promises are probed over HTTP, so nothing else is hurt meanwhile."""

End = Literal["nothing", "cancel", "resume", "repeat"]


class Fault(NamedTuple):
    """Something that will be done to the world."""

    at: float
    """Seconds after the beginning."""
    kind: str
    chance: float
    """0 to 1: whom it hits."""
    seconds: float
    """How long it lasts, where it does."""


class Story(NamedTuple):
    """One run, and what its owner does about it."""

    number: int
    at: float
    toy: dict[str, str | int | float]
    gpus: int
    end: End
    after: float
    """Seconds from its launch until its owner does that."""
    follows: bool
    """Whether the owner watches the log live."""


class Plan(NamedTuple):
    """Everything, in the order of time."""

    seed: int
    seconds: float
    faults: list[Fault]
    stories: list[Story]


def plan(seed: int, seconds: float) -> Plan:
    """Draw a soak."""
    chance = Random(seed)
    faults = [
        Fault(chance.uniform(0, seconds), kind, chance.random(), chance.uniform(LEASE_SECONDS, 2 * LEASE_SECONDS))
        for kind, rate in FAULTS_PER_MINUTE.items()
        for _ in range(max(1, round(rate * seconds / 60)))
    ]
    stories = [_story(chance, number, seconds) for number in range(max(6, round(RUNS_PER_MINUTE * seconds / 60)))]
    return Plan(seed, seconds, sorted(faults), sorted(stories, key=lambda story: story.at))


def _story(chance: Random, number: int, seconds: float) -> Story:
    pace = chance.choice([0.02, 0.04, 0.08])
    steps = round(chance.uniform(SHORTEST_RUN, LONGEST_RUN) / pace)
    toy: dict[str, str | int | float] = {
        "toy_steps": steps,
        "toy_pace": pace,
        "toy_lines": chance.choice([1, 5, 40]),
        "toy_save_steps": max(2, round(steps * chance.uniform(0.15, 0.4))),
        "toy_exit": chance.choice([0, 0, 0, 1]),
        "toy_stubborn": chance.choice(["no", "no", "no", "yes"]),
        "toy_child": chance.choice(["", "", "", "", "flees", "holds"]),
        "toy_in_place": chance.choice(["no", "yes"]),
    }
    return Story(
        number=number,
        at=chance.uniform(0, seconds),
        toy=toy,
        gpus=chance.choice([0, 1, 1, 2]),
        end=chance.choice(["nothing", "cancel", "cancel", "resume", "repeat"]),
        after=chance.uniform(0, LONGEST_RUN),
        follows=chance.random() < 0.25,
    )
