"""Judges what a soak has left by the promises P1 to P10; each break is told with all that is needed to look into it."""

from collections.abc import Callable
from typing import NamedTuple

from tests.soak.evidence import Evidence
from tests.soak.of_runs import never_backwards, no_double_launch, no_line_lost, no_run_lost, same_key_same_run
from tests.soak.of_the_world import artifacts_are_whole, cancel_ends, faults_are_borne, no_gpu_twice, no_training_hurt
from tests.soak.tally import Tally


class Verdict(NamedTuple):
    """How one promise was kept."""

    promise: str
    title: str
    checked: int
    breaks: list[str]


PROMISES: dict[str, tuple[str, Callable[[Evidence, Tally], None]]] = {
    "P1": ("no run lost", no_run_lost),
    "P2": ("no double launch", no_double_launch),
    "P3": ("no log line lost, doubled or out of order", no_line_lost),
    "P4": ("status never backwards", never_backwards),
    "P5": ("no GPU given twice, none leaked", no_gpu_twice),
    "P6": ("cancel ends, with its checkpoint", cancel_ends),
    "P7": ("a retried request is the same request", same_key_same_run),
    "P8": ("Redis or database down is borne", faults_are_borne),
    "P9": ("our faults never hurt a training", no_training_hurt),
    "P10": ("artifacts are listed whole", artifacts_are_whole),
}


def judge(seen: Evidence) -> list[Verdict]:
    """Judge every promise."""
    verdicts = []
    for promise, (title, look) in PROMISES.items():
        tally = Tally()
        look(seen, tally)
        verdicts.append(Verdict(promise, title, tally.checked, tally.breaks))
    return verdicts
