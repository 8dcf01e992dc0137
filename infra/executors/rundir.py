"""The run directory, seen from the host: what the shim is given, and what it left.

Looking never disturbs: the lock is probed (shared, for a moment) only after `started` is there, and the shim takes it before.
"""

import asyncio
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from domain.processes.ports import CannotStart, Exit, Sight, Spec
from infra.executors import shim
from infra.executors.tree import is_locked


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


T = TypeVar("T")

SPARE = 16 * 1024 * 1024
"""Bytes that must be free for a run directory: a start on a full disk would only fail later, and less clearly."""

_SPEC = msgspec.json.Decoder(Spec)
_CLAIM = msgspec.json.Decoder(Claim)
_STATE = msgspec.json.Decoder(State)
_EXIT = msgspec.json.Decoder(Exit)


class DirectoryReader:
    """The half of an Executor that needs nothing but the run directory, and so is the same wherever the command runs."""

    async def look(self, directory: str) -> Sight:
        """What is there now; an empty Sight when nothing is."""
        return look(directory)

    async def read(self, directory: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the output from `offset`; empty at the end. In a thread, since a cold disk takes its time."""
        return await asyncio.to_thread(read_log, directory, offset, limit)

    async def ask_to_stop(self, directory: str) -> None:
        """Leave the stop file."""
        ask_to_stop(directory)


def prepare(directory: str, spec: Spec) -> None:
    """Make the directory and place the spec, both for their owner only; what was placed for the same attempt is left as it is.

    CannotStart when that is impossible, or the disk nearly full.
    """
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        placed = _read(f"{directory}/spec.json", _SPEC)
        if placed is None:
            _place(f"{directory}/spec.json", msgspec.json.encode(spec))
    except OSError as error:
        raise CannotStart(f"the run directory {directory} cannot be made: {error.strerror}") from None
    if placed and (placed.process_id, placed.attempt) != (spec.process_id, spec.attempt):
        raise CannotStart(f"{directory} belongs to attempt {placed.attempt} of {placed.process_id}")
    _check_disk(directory)


def place_shim(directory: str) -> None:
    """Lay the shim into the directory, for a Python that cannot reach ours."""
    _place(f"{directory}/shim.py", Path(shim.__file__).read_bytes())


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
    claim = _read(f"{directory}/started", _CLAIM)
    if claim is None and not was_started(directory):
        return Sight()
    alive = is_locked(directory)
    now = state(directory)
    attempt = now.attempt if now else claim.attempt if claim else None
    end = _read(f"{directory}/exit.json", _EXIT)
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


def was_started(directory: str) -> bool:
    """Whether the one start of this attempt was claimed."""
    return os.path.exists(f"{directory}/started")  # noqa: PTH110 - ten times a second for each run


def state(directory: str) -> State | None:
    """Who the command is; None before it began."""
    return _read(f"{directory}/state.json", _STATE)


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
    """Leave the stop file: the command may watch for it in $TUNEYARD_RUN_DIRECTORY, and what has not begun never will."""
    Path(directory, "stop").touch()


def _read(path: str, decoder: msgspec.json.Decoder[T]) -> T | None:
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


def _place(path: str, content: bytes) -> None:
    """The whole file or none of it, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(prefix="spec.", dir=os.path.dirname(path))  # noqa: PTH120 - a str is at hand
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.rename(temporary, path)  # noqa: PTH104 - as above


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
