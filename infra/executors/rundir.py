"""The run directory, seen from the host: what the shim is given, and what it left.

Looking never disturbs: the lock is probed (shared, for a moment) only after `started` is there, and the shim takes it before.
"""

import asyncio
import fcntl
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from domain.processes.ports import CannotStart, Cause, Exit, Sight, Spec
from infra.executors import shim, tree


class Claim(Struct, frozen=True):
    """`started`: which attempt was begun, and when."""

    attempt: int
    at: float


class State(Struct, frozen=True, kw_only=True):
    """`state.json`: who the command is, as its own pid namespace counts."""

    attempt: int
    pid: int
    """Also the id of its session and of its process group."""
    start_ticks: int
    boot_id: str
    shim_pid: int
    started_at: float


class Kills(Struct, frozen=True):
    """Of `state.json` and `exit.json`: what the counter of the command's control group said then."""

    oom_kills: int | None = None


T = TypeVar("T")

SPARE = 16 * 1024 * 1024
"""Bytes that must be free for a run directory: a start on a full disk would only fail later, and less clearly."""
KILLED = {128 + signal.SIGKILL, 256 - signal.SIGKILL}
"""Exit codes of launchers whose child was killed: a shell's, and that of Python's `sys.exit(-9)`, as DeepSpeed does."""
TAIL = 64 * 1024
"""Bytes at the end of the output that are searched for a launcher's words about its child."""
OF_A_KILL = (b"SIGKILL", b"exitcode: -9", b"killed by signal: Killed")
"""What torchrun, accelerate and PyTorch's data loader say of a killed child before they exit with code 1."""

_SPEC = msgspec.json.Decoder(Spec)
_CLAIM = msgspec.json.Decoder(Claim)
_STATE = msgspec.json.Decoder(State)
_EXIT = msgspec.json.Decoder(Exit)
_KILLS = msgspec.json.Decoder(Kills)


class DirectoryReader:
    """The half of an Executor that needs nothing but the run directory, and so is the same wherever the command runs."""

    def __init__(self) -> None:
        self._shims: dict[str, int] = {}
        """Where living shims were found: going through all of /proc again each time would cost milliseconds."""

    async def look(self, directory: str) -> Sight:
        """What is there now; an empty Sight when nothing is."""
        return look(directory)

    async def read(self, directory: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the output from `offset`; empty at the end. In a thread, since a cold disk takes its time."""
        return await asyncio.to_thread(read_log, directory, offset, limit)

    async def ask_to_stop(self, directory: str) -> None:
        """Leave the stop file."""
        ask_to_stop(directory)

    async def shim_lives(self, directory: str) -> bool | None:
        """Whether the shim that would record the exit still lives; None when that cannot be seen."""
        who = tree.command(directory)
        if who is None or who.shim_start_ticks is None:
            return None
        found = self._shims.pop(directory, None)
        if found is None or not tree.is_shim(found, who):
            found = await asyncio.to_thread(tree.shim_pid, who)
        if found is not None:
            self._shims[directory] = found
            return True
        return False if await _is_shown(who) else None

    async def command_lives(self, directory: str) -> bool | None:
        """Whether the command itself still lives, not only what it started; None when that cannot be seen."""
        who = tree.command(directory)
        if who is None:
            return None
        if await asyncio.to_thread(tree.lives, who):
            return True
        return False if await _is_shown(who) else None

    async def cause(self, directory: str) -> Cause | None:
        """What killed an attempt that is over and did not end well; None when nothing shows it, or it ended by itself."""
        return cause(directory)


async def _is_shown(who: tree.Command) -> bool:
    return tree.was_restarted(who) or await asyncio.to_thread(tree.is_shown, who)


def prepare(directory: str, spec: Spec) -> None:
    """Make the directory and place the spec, both for their owner only; what was placed for the same attempt is left as it is.

    CannotStart when that is impossible, or the disk nearly full.
    """
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        placed = read_json(f"{directory}/spec.json", _SPEC)
        if placed is None:
            place(f"{directory}/spec.json", msgspec.json.encode(spec))
    except OSError as error:
        raise CannotStart(f"the run directory {directory} cannot be made: {error.strerror}") from None
    if placed and (placed.process_id, placed.attempt) != (spec.process_id, spec.attempt):
        raise CannotStart(f"{directory} belongs to attempt {placed.attempt} of {placed.process_id}")
    _check_disk(directory)


def place_shim(directory: str) -> None:
    """Lay the shim into the directory, for a Python that cannot reach ours."""
    place(f"{directory}/shim.py", Path(shim.__file__).read_bytes())


def forbid(directory: str) -> bool:
    """Make sure that what was not started yet never will be; False when it was started, whoever did it."""
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT, 0o644)
    give_up = time.monotonic() + 2 * shim.PATIENCE
    try:
        while not was_started(directory):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a launch is between its lock and its claim, which takes a millisecond unless it is frozen
                if time.monotonic() > give_up:
                    ask_to_stop(directory)
                    return True
                time.sleep(0.005)
            else:
                if was_started(directory):
                    return False
                ask_to_stop(directory)
                return True
        return False
    finally:
        os.close(lock)


def look(directory: str) -> Sight:
    """What is there now. In this order, `started`, the lock, the rest, whatever is seen dead has left all that it ever will."""
    claim = read_json(f"{directory}/started", _CLAIM)
    if claim is None and not was_started(directory):
        return Sight()
    alive = tree.is_locked(directory)
    now = state(directory)
    attempt = now.attempt if now else claim.attempt if claim else None
    end = read_json(f"{directory}/exit.json", _EXIT)
    return Sight(
        started=True,
        alive=alive,
        attempt=attempt,
        pid=now.pid if now else None,
        start_ticks=now.start_ticks if now else None,
        boot_id=now.boot_id if now else None,
        started_at=now.started_at if now else claim.at if claim else None,
        exit=end if end and end.attempt == attempt else None,
        log_size=_size(f"{directory}/out.log"),
    )


def cause(directory: str, *, alone: bool = False) -> Cause | None:
    """What killed it, as far as the run directory shows; `alone` says that no other command shares its control group."""
    sight = look(directory)
    if not sight.started or sight.alive or (sight.exit and sight.exit.code == 0):
        return None
    who = tree.command(directory)
    if sight.exit is None:
        return Cause(reason="the machine was restarted while it ran") if who and tree.was_restarted(who) else None
    kills = [(read_json(f"{directory}/{name}", _KILLS) or Kills()).oom_kills for name in ("state.json", "exit.json")]
    before, after = kills
    if before is None or after is None or after <= before:
        return None
    if not (alone or was_killed(sight) or _tells_of_a_kill(directory, sight.log_size)):
        return None  # it was one of the others in this control group
    counted = f"the oom_kill counter of its control group rose from {before} to {after}"
    return Cause(out_of_memory=True, reason=f"the memory ran out and the kernel killed a process of the training ({counted})")


def was_killed(sight: Sight) -> bool:
    """Whether what is over did not end by itself: it left no exit, or one that tells of SIGKILL."""
    return sight.exit is None or sight.exit.signal == signal.SIGKILL or sight.exit.code in KILLED


def was_started(directory: str) -> bool:
    """Whether the one start of this attempt was claimed."""
    return os.path.exists(f"{directory}/started")  # noqa: PTH110 - ten times a second for each run


def state(directory: str) -> State | None:
    """Who the command is; None before it began."""
    return read_json(f"{directory}/state.json", _STATE)


def read_log(directory: str, offset: int, limit: int) -> bytes:
    """Up to `limit` bytes of the output from `offset`; empty at its end, or while there is none."""
    try:
        log = os.open(f"{directory}/out.log", os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(log, limit, offset)
    finally:
        os.close(log)


def ask_to_stop(directory: str) -> None:
    """Leave the stop file: the command may watch for it in $TUNEYARD_RUN_DIRECTORY, and what has not begun never will.

    Left again it stays as it is: its age says how long the command has known. A disk that takes no more files takes this one neither;
    then signals must do.
    """
    with suppress(OSError):
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(f"{directory}/stop", os.O_WRONLY | os.O_CREAT, 0o644))


def place(path: str, content: bytes) -> None:
    """The whole file or none of it, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(prefix="spec.", dir=os.path.dirname(path))  # noqa: PTH120 - a str is at hand
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.rename(temporary, path)  # noqa: PTH104 - as above


def read_json(path: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The file, or None while it is absent, half written or damaged."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return decoder.decode(os.read(handle, os.fstat(handle).st_size))
    except msgspec.MsgspecError:
        return None
    finally:
        os.close(handle)


def _tells_of_a_kill(directory: str, log_size: int) -> bool:
    tail = read_log(directory, max(log_size - TAIL, 0), TAIL)
    return any(words in tail for words in OF_A_KILL)


def _check_disk(directory: str) -> None:
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if free < SPARE:
        raise CannotStart(f"the disk of {directory} is full: {free >> 20} MiB are free, {SPARE >> 20} MiB are needed to start")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - ten times a second for each run
    except FileNotFoundError:
        return 0
