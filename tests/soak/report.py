"""What a soak prints at its end: its seed, what was done, and each promise with all that broke it."""

from collections import Counter
from collections.abc import Iterable

from tests.soak.evidence import Evidence
from tests.soak.oracle import Verdict
from tests.soak.plan import KILLS, Plan

MOST_BREAKS = 20
"""Of each promise that are told."""


def told(drawn: Plan, seen: Evidence, verdicts: list[Verdict], took: float) -> list[str]:
    """Return every line."""
    done, record = seen.record.done, seen.record
    return [
        "",
        f"soak: seed {drawn.seed}, {drawn.seconds:g} s of faults, {took:.0f} s in all",
        f"kills: {sum(done[kind] for kind in KILLS)} over {len(seen.runs)} runs",
        f"faults: {_counted(done.elements())}",
        f"runs: {_counted(_end(run) for run in seen.runs.values())}",
        f"attempts: {len(seen.attempts)}; beats: {len(seen.beats)}; streams: {len(record.followed)}",
        f"log lines: {sum(map(len, seen.logs.values()))}",
        f"answers: {_counted(said.status for said in record.said)}",
        f"probes: {len(record.probes)}, the slowest 503 in {_slowest(seen):.2f} s",
        f"starts refused: {_counted(record.refused.elements()) or 'none'}",
        "",
        *(f"{each.promise:<4} {each.title:<45} {each.checked:>7} checked   {len(each.breaks):>4} broken" for each in verdicts),
        *(f"\n{each.promise}: {words}" for each in verdicts for words in each.breaks[:MOST_BREAKS]),
    ]


def _end(run: dict[str, object]) -> str:
    failure = run["failure"]
    return f"{run['status']} ({failure['class']})" if isinstance(failure, dict) else str(run["status"])


def _counted(words: Iterable[object]) -> str:
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())


def _slowest(seen: Evidence) -> float:
    return max((probe.seconds for probe in seen.record.probes if probe.status == 503), default=0.0)
