"""Commands as plain processes of this host, each beside a shim of its own; they live on when we do not."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

from domain.processes.ports import CannotStart, Spec
from infra.executors import check, rundir, shim, tree
from infra.executors.rundir import DirectoryReader


class LocalExecutor(DirectoryReader):
    """An Executor whose host is this very machine and user."""

    async def start(self, directory: str, spec: Spec) -> None:
        """Start the attempt, once however often this is called; CannotStart when it is impossible."""
        if rundir.was_started(directory):
            return
        if objection := check.objection(spec.argv, spec.env, spec.cwd):
            raise CannotStart(objection)
        rundir.prepare(directory, spec)
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
        _, said = await launcher.communicate()
        killed = (launcher.returncode or 0) < 0
        if launcher.returncode in {0, shim.ALREADY_STARTED} or (killed and rundir.was_started(directory)):
            return  # whoever killed the launcher then: what it has left behind is seen in the directory
        reason = said.decode(errors="replace").strip() or f"the shim ended with {launcher.returncode}"
        raise CannotStart(reason, passing=killed or reason == shim.KILLED)

    async def signal(self, directory: str, number: int, *, alone: bool = False) -> bool:
        """Send a signal to the command's process group, or to it alone, if that very command still lives; whether it was sent."""
        return await asyncio.to_thread(tree.send, directory, number, alone)

    async def kill(self, directory: str) -> list[int]:
        """End all that is left of the attempt, wherever it fled; the pids that would not go (none: verified dead)."""
        return await asyncio.to_thread(tree.end, directory)


def _inherited() -> dict[str, str]:
    """Our environment without our settings: neither a token nor a database of ours is any business of a training's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TUNEYARD_", "TRAINING_DB_URL", "REDIS_URL"))}
