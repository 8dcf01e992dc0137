"""Commands inside a running container, by `docker exec` through the engine's API; they live on when we, or the engine, do not.

Crash story. The engine is a launcher and nothing more: the shim runs inside the container, its run directory lies in a folder
that both sides see, and the lock in it is the same lock on both. So logs, life and exit are plain file reads on the host, and
signals go to the pids that the host gives the container's processes; none of it asks the engine. When the engine dies in the
middle of a start, the run directory says whether the attempt began; if not, it is made sure that it never will.
"""

import asyncio
import json
import os
import posixpath
from pathlib import Path

import msgspec

from domain.processes.ports import CannotStart, Spec
from infra.executors import check, rundir, shim, tree
from infra.executors.engine import Container, Done, Engine, EngineError, NoSuchContainer, Unreachable
from infra.executors.rundir import DirectoryReader

PYTHON = ["python3", "-I", "-S", "-c"]
OUTPUT = "TUNEYARD_OUTPUT_DIR"
"""In the environment of a command: the folder that it writes to, made before it starts."""
LOCALLY = "set TUNEYARD_EXECUTOR=local to train without containers"


class DockerExecutor(DirectoryReader):
    """An Executor whose commands run inside a container that is already there.

    `training_path` is the training directory on this host, `seen_at` where the same folder is mounted in the container.
    `user` is `uid` or `uid:gid`; unless it is given, the container's own user runs everything.
    """

    def __init__(self, address: str, container: str, *, training_path: str, seen_at: str | None = None, user: str | None = None) -> None:
        self._address = address
        self._container = container
        self._training_path = training_path
        self._seen_at = seen_at or training_path
        self._user = user

    async def start(self, directory: str, spec: Spec) -> None:
        """Start the attempt, once however often this is called; CannotStart when it is impossible."""
        if rundir.was_started(directory):
            return
        try:
            async with Engine(self._address) as engine:
                container = await self._find(engine)
                cwd = posixpath.join(container.working_dir, spec.cwd)
                await asyncio.to_thread(self._prepare, directory, msgspec.structs.replace(spec, cwd=cwd))
                await self._launch(engine, container, directory)
        except Unreachable as error:
            raise CannotStart(f"{error}; start it, correct DOCKER_HOST, or {LOCALLY}") from None
        except EngineError as error:
            raise CannotStart(str(error)) from None

    async def signal(self, directory: str, number: int) -> bool:
        """Send a signal to the command's process group, if that very command still lives; whether it was sent."""
        who = tree.command(directory)
        if who is None or not tree.is_locked(directory):
            return False
        if await asyncio.to_thread(tree.is_shown, who):
            return await asyncio.to_thread(tree.send, directory, number)
        done = await self._inside("signal", directory, number)
        return done is not None and done.code == 0

    async def kill(self, directory: str) -> list[int]:
        """End all that is left of the attempt, wherever it fled; the pids that would not go (none: verified dead)."""
        who = tree.command(directory)
        if who is None:
            return []
        if await asyncio.to_thread(tree.is_shown, who):
            return await asyncio.to_thread(tree.end, directory)
        done = await self._inside("kill", directory)
        if done is not None and done.code == 0:
            return [int(pid) for pid in json.loads(done.out)]
        return [who.pid] if tree.is_locked(directory) else []

    async def _find(self, engine: Engine) -> Container:
        """The container, if commands can be run in it."""
        name = self._container
        try:
            container = await engine.container(name)
        except NoSuchContainer:
            running = ", ".join(await engine.running()) or "none"
            raise CannotStart(f"there is no container {name}; set DOCKER_CONTAINER_NAME (running: {running}), or {LOCALLY}") from None
        if container.status == "paused":
            raise CannotStart(f"the container {name} is paused; wake it with `docker unpause {name}`")
        if container.status != "running":
            raise CannotStart(f"the container {name} is not running ({container.status}); start it with `docker start {name}`")
        return container

    def _prepare(self, directory: str, spec: Spec) -> None:
        """Place spec and shim, and give what the trainer reads and writes to the user that it runs as."""
        rundir.prepare(directory, spec)
        rundir.place_shim(directory)
        if self._user:
            output = spec.env.get(OUTPUT)
            self._give([directory, f"{directory}/spec.json", f"{directory}/shim.py", *([self._on_host(output)] if output else [])])

    def _give(self, paths: list[str]) -> None:
        uid, _, gid = (self._user or "").partition(":")
        try:
            for path in paths:
                os.chown(path, int(uid), int(gid or -1))
        except PermissionError:
            raise CannotStart(f"run directories cannot be given to user {self._user}; run the worker as root, or as that user") from None

    async def _launch(self, engine: Engine, container: Container, directory: str) -> None:
        argv = [*PYTHON, _source(check.__file__), self._seen(directory)]
        try:
            done = await engine.execute(container.id, argv, user=self._user)
        except EngineError:
            if await asyncio.to_thread(rundir.forbid, directory):
                raise
            return
        if done.code not in {0, shim.ALREADY_STARTED}:
            raise CannotStart(self._refusal(done))

    def _refusal(self, done: Done) -> str:
        name, said = self._container, (done.err or done.out).strip()
        if done.code == check.NOT_THERE:
            mount = f"{self._training_path}:{self._seen_at}"
            return (
                f"the container {name} does not see the training directory; start it with `-v {mount}`, "
                "or set TUNEYARD_CONTAINER_TRAINING_PATH to where it is mounted"
            )
        if done.code == check.NOT_ALLOWED:
            return f"the trainer's user in the container {name} may not enter the training directory; set TUNEYARD_DOCKER_USER"
        if "executable file not found" in said:
            return f"the container {name} has no python3 on its PATH, which every start needs; install Python 3.6 or newer in it"
        return f"in the container {name}: {said or f'the launcher ended with {done.code}'}"

    async def _inside(self, verb: str, directory: str, number: int = 0) -> Done | None:
        """Do it inside the container, whose processes this /proc does not show; None when the engine cannot."""
        argv = [*PYTHON, _source(tree.__file__), verb, self._seen(directory), str(number)]
        try:
            async with Engine(self._address) as engine:
                return await engine.execute(self._container, argv, user=self._user)
        except EngineError:
            return None

    def _seen(self, path: str) -> str:
        """The path that the container knows it by."""
        return posixpath.join(self._seen_at, os.path.relpath(path, self._training_path))

    def _on_host(self, seen: str) -> str:
        """The path here of what the container knows by that path."""
        return posixpath.join(self._training_path, os.path.relpath(seen, self._seen_at))


def _source(path: str) -> str:
    return Path(path).read_text("utf-8")
