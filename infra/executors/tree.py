"""Everything that an attempt's command has become, found in /proc by evidence, so that nothing else is ever hit.

Belonging is shown by the marker in the environment (it outlives sessions and parents), by the command's own session while
the command itself lives, by writing its output into the attempt's `out.log`, by descent from any of these, and by holding the
attempt's lock. A pid alone shows nothing. vLLM's engine is why the output counts: it gives itself a name that overwrites its
environment, and outlives a killed server with all of the GPU's memory.

A command in a container counts its pids in a namespace of its own; here they are found as this /proc counts them. Where
this /proc does not show the container, `python -I -S -c SOURCE signal|kill DIRECTORY NUMBER` does the same inside it: so
this file needs nothing but itself and any Python from 3.6 on.
"""

import fcntl
import json
import os
import re
import signal
import sys
import time
from typing import NamedTuple

KILL_PATIENCE = 2.0
"""Seconds to wait for the dead to be gone; what is still there then hangs in the kernel, or forks faster than we kill."""


SHARED = re.compile(rb" (/dev/shm/(?:psm_|sem\.mp-)[\w-]+)$", re.MULTILINE)
"""What multiprocessing puts into shared memory; what was removed since bears `(deleted)` behind its name."""


class Command(NamedTuple):
    """Who the command is, as its shim recorded it in `state.json`."""

    pid: int
    shim_pid: int
    start_ticks: int
    boot_id: str
    pid_namespace: str
    marker: str
    shim_start_ticks: "int | None" = None
    """None when a shim of before recorded it, which did not say."""


class Process(NamedTuple):
    """One process, as this /proc shows it."""

    pid: int
    parent: int
    session: int
    start_ticks: int


def command(directory: str) -> "Command | None":
    """The command of a run directory; None before it began."""
    try:
        with open(f"{directory}/state.json", "rb") as file:
            state = json.loads(file.read().decode("utf-8"))
        return Command(**{name: state[name] for name in Command._fields if name in state})
    except (FileNotFoundError, ValueError, TypeError):
        return None


def send(directory: str, number: int, alone: bool = False) -> bool:  # noqa: FBT001, FBT002 - runs on Python 3.6, by position
    """Send a signal to the command's process group, or to it alone, if that very command still lives; whether it was sent."""
    who = command(directory)
    pid = _living(who) if who else None
    if who is None or pid is None:
        return False
    note_shared(directory, shared_by(members(directory, who)))  # whatever it does now, what it leaves is known
    try:
        (os.kill if alone else os.killpg)(pid, number)
    except ProcessLookupError:
        return False
    return True


def end(directory: str) -> "list[int]":
    """SIGKILL all that is left of the attempt, wherever it fled; the pids that would not go (none: verified dead)."""
    who = command(directory)
    if who is None:
        return []
    give_up = time.monotonic() + KILL_PATIENCE
    shared = noted_shared(directory)
    seen = {}  # type: dict[int, Process]
    while True:
        # One that is dying shows nothing any more of what it belongs to, but is there with all its memory until it is dead.
        seen = {process.pid: process for process in map(_process, seen) if process and process.start_ticks == seen[process.pid].start_ticks}
        seen.update((pid, process) for pid, process in ((pid, _process(pid)) for pid in members(directory, who)) if process)
        left = sorted(seen)
        shared.update(shared_by(left))
        for pid in left:
            _kill(pid)
        if not left or time.monotonic() > give_up:
            break
        time.sleep(0.01)
    if not left:
        remove_shared(shared)
    return left


def members(directory: str, who: Command) -> "list[int]":
    """The pids of all that is left of the command, the shim not among them."""
    if was_restarted(who):
        return []
    shim = _here(who.shim_pid, who.pid_namespace)
    everyone = [process for process in map(_process, _pids()) if process and process.pid != shim]
    session = _living(who)
    marker = os.fsencode(who.marker)
    output = f"{directory}/out.log"
    seeds = {
        process.pid for process in everyone if process.session == session or _carries(process.pid, marker) or _writes(process.pid, output)
    }
    ours = _with_descendants(seeds, everyone)
    if not ours and is_locked(directory):
        ours = {process.pid for process in everyone if _holds(process.pid, f"{directory}/lock")}
    return sorted(ours)


def shared_by(pids: "list[int]") -> "dict[str, list[int]]":
    """Segments and semaphores of Python's multiprocessing that these processes have mapped or open: device and inode by path."""
    found = {}
    for pid in pids:
        for path in _mapped(pid) | _opened(pid):
            try:
                seen = os.lstat(path)
            except OSError:
                continue
            found[path] = [seen.st_dev, seen.st_ino]
    return found


def remove_shared(shared: "dict[str, list[int]]") -> None:
    """Remove what a killed tree has left in shared memory, unless it is another file by now, or somebody alive has it."""
    if not shared:
        return
    kept = set().union(*((_mapped(pid) | _opened(pid)) for pid in _pids()))
    for path, known in shared.items():
        try:
            seen = os.lstat(path)
            if path not in kept and [seen.st_dev, seen.st_ino] == known:
                os.unlink(path)
        except OSError:
            continue


def note_shared(directory: str, shared: "dict[str, list[int]]") -> None:
    """Write down what it has shared while that can be seen; a disk that is full takes no note, and then it stays."""
    if not shared:
        return
    try:
        with open(f"{directory}/shared.json", "w") as file:
            json.dump(shared, file)
    except OSError:
        return


def noted_shared(directory: str) -> "dict[str, list[int]]":
    """What was written down."""
    try:
        with open(f"{directory}/shared.json") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {}


def lives(who: Command) -> bool:
    """Whether that very command still lives; what it has left running does not count."""
    return _living(who) is not None


def shim_pid(who: Command) -> "int | None":
    """The pid here of the shim that watches that very command; None when it is dead, or not shown."""
    pid = _here(who.shim_pid, who.pid_namespace)
    return pid if pid and is_shim(pid, who) else None


def is_shim(pid: int, who: Command) -> bool:
    """Whether that process here is the shim of the command, and not dead and merely unburied."""
    process = _process(pid)
    return process is not None and process.start_ticks == who.shim_start_ticks and _namespace(pid) == who.pid_namespace


def was_restarted(who: Command) -> bool:
    """Whether this machine was restarted since the command began."""
    return who.boot_id != _boot_id()


def is_shown(who: Command) -> bool:
    """Whether this /proc shows anything at all of where the command runs."""
    return any(_namespace(pid) == who.pid_namespace for pid in _pids())


def is_locked(directory: str) -> bool:
    """Whether anybody of the attempt lives. Ask only once it was started: before, the question itself could be taken for another launch."""
    try:
        lock = os.open(f"{directory}/lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _living(who: Command) -> "int | None":
    """The pid here of that very command: not of a later one with its pid, not of what remains of it until its shim has noticed."""
    pid = _here(who.pid, who.pid_namespace)
    process = _process(pid) if pid else None
    return pid if process and process.start_ticks == who.start_ticks and not was_restarted(who) else None


def _here(pid: int, namespace: str) -> "int | None":
    """The pid here of what a pid namespace knows by its own number."""
    if namespace == _namespace("self"):
        return pid
    return next((each for each in _pids() if _namespace(each) == namespace and _innermost(each) == pid), None)


def _namespace(pid: "int | str") -> "str | None":
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None  # another user's process, or gone


def _innermost(pid: int) -> "int | None":
    """The number by which a process knows itself."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return int(file.read().partition(b"NSpid:")[2].partition(b"\n")[0].split()[-1])
    except (OSError, IndexError):
        return None


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _pids() -> "list[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _process(pid: int) -> "Process | None":
    """None for what is gone, or dead and merely not yet noticed by its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in b"ZX" and int(fields[17]) <= 1:  # the first thread of several may be dead, and the process is not
        return None
    return Process(pid, parent=int(fields[1]), session=int(fields[3]), start_ticks=int(fields[19]))


def _carries(pid: int, marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False  # another user's process, or gone


def _with_descendants(seeds: "set[int]", everyone: "list[Process]") -> "set[int]":
    found = seeds
    while True:
        grown = found | {process.pid for process in everyone if process.parent in found}
        if grown == found:
            return found
        found = grown


def _writes(pid: int, output: str) -> bool:
    """Whether what the process prints goes to that file."""
    try:
        wanted = os.stat(output)
        return any(os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{stream}")) for stream in (1, 2))
    except OSError:
        return False  # another user's process, or gone; or one that has closed a stream


def _holds(pid: int, path: str) -> bool:
    """Whether the process has that file open."""
    try:
        wanted = os.stat(path)
        return any(os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{name}")) for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _mapped(pid: int) -> "set[str]":
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return {os.fsdecode(found) for found in SHARED.findall(file.read())}
    except OSError:
        return set()  # another user's process, or gone


def _opened(pid: int) -> "set[str]":
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return set()
    return {link for link in links if SHARED.fullmatch(b" " + os.fsencode(link))}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main(verb: str, directory: str, number: str) -> int:
    """Signal, or tell the command alone: the exit code says whether it was sent. Kill: what is left is said in JSON."""
    if verb in {"signal", "tell"}:
        return 0 if send(directory, int(number), verb == "tell") else 1
    os.write(1, json.dumps(end(directory)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
