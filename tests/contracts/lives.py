"""A run that a host has taken, and what its host may say of it: the same for every test of a run's life."""

from datetime import timedelta

from msgspec import Struct

from domain.ids import HostName, ProcessId
from domain.processes.ports import Cause, Exit, Sight
from domain.runs.artifact import Found, Look
from domain.runs.ending import Ending
from domain.runs.measured import Measured
from domain.runs.run import Run
from domain.runs.said import Said
from tests.things import AT

AN_INSTANT = timedelta(0)
"""A pause before the next attempt that is none."""


class Started(Struct):
    """A run that was placed on a host, and whoever speaks for that host."""

    run: Run
    process: ProcessId
    speaker: "Speaker"


class Speaker(Struct, frozen=True):
    """A worker of a host."""

    name: HostName
    lease: int


ALIVE = Sight(started=True, alive=True, attempt=1, pid=42, start_ticks=7, boot_id="boot", started_at=1.0)


def words(*lines: bytes, first: int = 0, attempt: int = 1, **measured: float) -> Said:
    end = first + sum(len(line) + 1 for line in lines)
    values = [Measured(step=1, values=measured)] if measured else []
    return Said(attempt=attempt, lines=list(lines), measured=values, progress=0.5, first_byte=first, end_byte=end, seen_at=AT)


def look(*findings: Found, root: str = "file:///out", whole: bool = True) -> Look:
    return Look(findings=list(findings), root=root, whole=whole)


def ending(code: int, *findings: Found) -> Ending:
    return Ending(attempt=1, began=True, exit=Exit(attempt=1, code=code, ended_at=1.0), look=look(*findings))


def vanished(run: Run, *findings: Found, attempt: int = 1) -> Ending:
    """Nothing lives, and nothing says how it ended."""
    return Ending(attempt=attempt, began=True, look=look(*findings, root=f"file:///data/{run.folder}/output"))


def starved(attempt: int = 1) -> Ending:
    """The kernel killed it for its memory."""
    killed = Exit(attempt=attempt, signal=9, ended_at=1.0)
    return Ending(attempt=attempt, began=True, exit=killed, cause=Cause(out_of_memory=True, reason="the cgroup's memory limit was hit"))
