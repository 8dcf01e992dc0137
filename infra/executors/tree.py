"""Everything that an attempt's command has become on this host, found by evidence, so that nothing else is ever hit.

Belonging is shown by the marker in the environment (it outlives sessions and parents), by the command's own session while
the command itself lives, by descent from either, and by holding the attempt's lock. A pid alone shows nothing.
"""

import os
from pathlib import Path

from msgspec import Struct

from infra.executors.rundir import State, is_locked
from infra.executors.shim import MARKER


class Process(Struct, frozen=True):
    """One process of this host, as far as it matters here."""

    pid: int
    parent: int
    session: int
    start_ticks: int


def lives(state: State) -> bool:
    """Whether that very command is there: not a later one with its pid, not what remains of it until its shim has noticed."""
    process = _process(state.pid)
    return process is not None and process.start_ticks == state.start_ticks and state.boot_id == _boot_id()


def members(directory: str, state: State) -> list[int]:
    """The pids of all that is left of the command, the shim not among them."""
    if state.boot_id != _boot_id():
        return []
    everyone = [process for process in map(_process, _pids()) if process and process.pid != state.shim_pid]
    marker = os.fsencode(f"{MARKER}={os.path.realpath(directory)}")
    session = state.pid if lives(state) else None
    seeds = {process.pid for process in everyone if process.session == session or _carries(process.pid, marker)}
    ours = _with_descendants(seeds, everyone)
    if not ours and is_locked(directory):
        ours = {process.pid for process in everyone if _holds(process.pid, f"{directory}/lock")}
    return sorted(ours)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are all we want


def _process(pid: int) -> Process | None:
    """None for what is gone, or dead and merely not yet noticed by its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in b"ZX":
        return None
    return Process(pid, parent=int(fields[1]), session=int(fields[3]), start_ticks=int(fields[19]))


def _carries(pid: int, marker: bytes) -> bool:
    try:
        return marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # another user's process, or gone


def _with_descendants(seeds: set[int], everyone: list[Process]) -> set[int]:
    found = seeds
    while True:
        grown = found | {process.pid for process in everyone if process.parent in found}
        if grown == found:
            return found
        found = grown


def _holds(pid: int, path: str) -> bool:
    """Whether the process has that file open."""
    try:
        wanted = os.stat(path)  # noqa: PTH116 - compared with the likes of it below
        return any(os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{name}")) for name in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH116, PTH208
    except OSError:
        return False
