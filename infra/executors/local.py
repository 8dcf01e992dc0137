"""Commands as plain processes of this host, each beside a shim of its own; they live on when we do not."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from domain.processes.ports import CannotStart, Sight, Spec
from infra.executors import rundir, shim, tree

SPARE = 16 * 1024 * 1024
"""Bytes that must be free for a run directory: a start on a full disk would only fail later, and less clearly."""
KILL_PATIENCE = 2.0
"""Seconds to wait for the dead to be gone; what is still there then hangs in the kernel, or forks faster than we kill."""
SHELLS = {"bash", "sh", "dash", "zsh"}


class LocalExecutor:
    """An Executor whose host is this very machine and user."""

    async def start(self, directory: str, spec: Spec) -> None:
        """Start the attempt, once however often this is called; CannotStart when it is impossible."""
        if rundir.was_started(directory):
            return
        _check_command(spec)
        try:
            rundir.prepare(directory, spec)
        except OSError as error:
            raise CannotStart(f"the run directory {directory} cannot be made: {error.strerror}") from None
        _check_disk(directory)
        launcher = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            shim.__file__,
            directory,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env=_inherited(),
            start_new_session=True,
        )
        _, reason = await launcher.communicate()
        if launcher.returncode not in {0, shim.ALREADY_STARTED}:
            raise CannotStart(reason.decode(errors="replace").strip() or f"the shim ended with {launcher.returncode}")

    async def look(self, directory: str) -> Sight:
        """What is there now; an empty Sight when nothing is."""
        return rundir.look(directory)

    async def read(self, directory: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the output from `offset`; empty at the end. In a thread, since a cold disk takes its time."""
        return await asyncio.to_thread(rundir.read_log, directory, offset, limit)

    async def ask_to_stop(self, directory: str) -> None:
        """Leave the stop file."""
        rundir.ask_to_stop(directory)

    async def signal(self, directory: str, number: int) -> bool:
        """Send a signal to the command's process group, if that very command still lives; whether it was sent."""
        state = rundir.state(directory)
        if state is None or not tree.lives(state):
            return False
        try:
            os.killpg(state.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def kill(self, directory: str) -> list[int]:
        """End all that is left of the attempt, wherever it fled; the pids that would not go (none: verified dead)."""
        state = rundir.state(directory)
        if state is None:
            return []
        loop = asyncio.get_running_loop()
        give_up = loop.time() + KILL_PATIENCE
        while left := await asyncio.to_thread(tree.members, directory, state):
            for pid in left:
                _kill(pid)
            if loop.time() > give_up:
                break
            await asyncio.sleep(0.01)
        return left


def _check_command(spec: Spec) -> None:
    """Say beforehand, in words, what would keep this command from running here."""
    if not spec.argv:
        raise CannotStart("the start command is empty")
    if not Path(spec.cwd).is_dir():
        raise CannotStart(f"the working directory {spec.cwd} does not exist; create it, or set another one")
    if any("\0" in word for word in [*spec.argv, *spec.env, *spec.env.values()]):
        raise CannotStart("a command and its environment cannot contain NUL characters")
    command = spec.argv[0]
    found = Path(spec.cwd, command) if "/" in command else shutil.which(command, path=spec.env.get("PATH"))
    if found is None:
        raise CannotStart(f"{command}: no such command on this host's PATH")
    if not os.access(found, os.X_OK):
        raise CannotStart(f"{command} is not executable" if Path(found).exists() else f"{command}: no such file in {spec.cwd}")
    _check_script(spec)


def _check_script(spec: Spec) -> None:
    """`bash SCRIPT` without the script is the commonest wrong setting of all."""
    shell, *rest = spec.argv
    if Path(shell).name not in SHELLS or not rest or rest[0].startswith("-"):
        return
    script = Path(spec.cwd, rest[0])
    if not script.is_file():
        raise CannotStart(f"{script.name} is not in {script.parent}; put it there, or set another working directory or start command")


def _check_disk(directory: str) -> None:
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if free < SPARE:
        raise CannotStart(f"the disk of {directory} is full: {free >> 20} MiB are free, {SPARE >> 20} MiB are needed to start")


def _inherited() -> dict[str, str]:
    """Our environment without our settings: neither a token nor a database of ours is any business of a training's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TUNEYARD_", "TRAINING_DB_URL", "REDIS_URL"))}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
