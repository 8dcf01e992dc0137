"""Commands in containers, by `docker exec` through the engine's API; they live on when we, or the engine, do not.

Crash story. The engine is a launcher and nothing more: the shim runs inside the container, its run directory lies in a folder
that both sides see, and the lock in it is the same lock on both. So logs, life and exit are plain file reads on the host, and
signals go to the pids that the host gives the container's processes; none of it asks the engine. When the engine dies in the
middle of a start, the run directory says whether the attempt began; if not, it is made sure that it never will.

A container made for one attempt alone differs in little: its name says whose it is, so that whoever starts the attempt again
finds it, in whatever state; its main process waits for the attempt's end (`hold.py`), so that it ends with it, watched or not.
"""

import asyncio
import json
import os
import posixpath
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from domain.processes.ports import CannotStart, Cause, Spec
from infra.executors import check, rundir, shim, tree
from infra.executors.engine import Container, Done, Engine, EngineError, NoSuchContainer, NoSuchImage, Unreachable
from infra.executors.home import LAG, Home, death, home_of, last_of, note
from infra.executors.own import LABEL, Own, name_of, renumbered
from infra.executors.rundir import DirectoryReader

PYTHON = ["python3", "-I", "-S", "-c"]
OUTPUT = "TUNEYARD_OUTPUT_DIR"
"""In the environment of a command: the folder that it writes to, made before it starts."""
LOCALLY = "set TUNEYARD_EXECUTOR=local to train without containers"
NO_SUCH_COMMAND = 127
"""Exit code of a container whose main process could not be found in its image."""
STALE = "24h"
"""Age after which containers of ours that do not run are removed: their worker never came back to see to them."""


class DockerExecutor(DirectoryReader):
    """An Executor whose commands run inside a container that is already there or, with `mode="run"`, in one for each attempt.

    `training_path` is the training directory on this host, `seen_at` where the same folder is mounted in the container.
    `user` is `uid` or `uid:gid`; unless it is given, the container's own user runs everything. `image` and `mounts`
    (`HOST:CONTAINER[:ro]`, beside the training directory) are for containers of an attempt's own.
    """

    def __init__(
        self,
        address: str,
        container: str,
        *,
        training_path: str,
        seen_at: str | None = None,
        user: str | None = None,
        mode: Literal["exec", "run"] = "exec",
        image: str | None = None,
        mounts: list[str] | None = None,
    ) -> None:
        super().__init__()
        self._address = address
        self._container = container
        self._training_path = training_path
        self._seen_at = seen_at or training_path
        self._user = user
        self._mode = mode
        self._own = Own(image=image, mounts=[f"{training_path}:{self._seen_at}", *(mounts or [])], user=user) if image else None

    async def start(self, directory: str, spec: Spec) -> None:
        """Start the attempt, once however often this is called; CannotStart when it is impossible."""
        if rundir.was_started(directory):
            return
        try:
            async with Engine(self._address) as engine:
                if self._mode == "run":
                    await self._start_own(engine, directory, spec)
                else:
                    container = await self._find(engine)
                    await asyncio.to_thread(self._prepare, directory, container.working_dir, spec)
                    await self._launch(engine, directory, Home(id=container.id, name=container.name, own=False))
        except Unreachable as error:
            raise CannotStart(f"{error}; start it, correct DOCKER_HOST, or {LOCALLY}", passing=error.passing) from None
        except EngineError as error:
            raise CannotStart(str(error)) from None

    async def signal(self, directory: str, number: int, *, alone: bool = False) -> bool:
        """Send a signal to the command's process group, or to it alone, if that very command still lives; whether it was sent."""
        who = tree.command(directory)
        if who is None or not tree.is_locked(directory):
            return False
        if await asyncio.to_thread(tree.is_shown, who):
            return await asyncio.to_thread(tree.send, directory, number, alone)
        done = await self._inside("tell" if alone else "signal", directory, number)
        return done is not None and done.code == 0

    async def kill(self, directory: str) -> list[int]:
        """End all that is left of the attempt, wherever it fled; the pids that would not go (none: verified dead)."""
        left = await self._end(directory)
        home = self._home(directory)
        if home.own and not left:
            with suppress(EngineError):  # then its container ends by itself, and a later attempt's end removes it
                await self._remove(directory, home)
        return left

    async def cause(self, directory: str) -> Cause | None:
        """What killed an attempt that is over and did not end well; None when nothing shows it, or it ended by itself."""
        home = self._home(directory)
        found = rundir.cause(directory, alone=home.own)
        sight = rundir.look(directory)
        if found or not sight.started or sight.alive or not rundir.was_killed(sight):
            return found
        try:
            async with Engine(self._address) as engine:
                last = home.last or await last_of(engine, home.id)
        except EngineError:
            return None
        return death(home, last, began=sight.started_at or 0.0)

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

    async def _start_own(self, engine: Engine, directory: str, spec: Spec) -> None:
        """Start it in a container of its own, which is removed when that fails."""
        if self._own is None:
            raise CannotStart("there is no image to make containers from; set TUNEYARD_DOCKER_IMAGE, or TUNEYARD_DOCKER_MODE=exec")
        image = self._own.image
        try:
            working_dir = await engine.working_dir(image)
        except NoSuchImage:
            raise CannotStart(f"there is no image {image} here; get it with `docker pull {image}`, or set TUNEYARD_DOCKER_IMAGE") from None
        await asyncio.to_thread(self._prepare, directory, working_dir, renumbered(spec))
        name = name_of(spec)
        try:
            container = await _made(engine, name, self._own.describe(spec, self._seen(directory)))
            await engine.start(container.id)
            await self._launch(engine, directory, Home(id=container.id, name=name, own=True))
        except (CannotStart, EngineError) as error:
            if await asyncio.to_thread(_began, directory):
                return
            with suppress(EngineError):
                ended = (await engine.container(name)).exit_code
                await engine.remove(name)
                if ended == NO_SUCH_COMMAND:
                    raise CannotStart(f"the image {image} {WITHOUT_PYTHON}") from None
            if "could not select device driver" in str(error):
                raise CannotStart(f"{error}; install the NVIDIA container toolkit on this machine") from None
            raise

    def _prepare(self, directory: str, working_dir: str, spec: Spec) -> None:
        """Place spec and shim, and give what the trainer reads and writes to the user that it runs as."""
        rundir.prepare(directory, replace(spec, cwd=posixpath.join(working_dir, spec.cwd)))
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

    async def _launch(self, engine: Engine, directory: str, home: Home) -> None:
        note(directory, home)
        argv = [*PYTHON, _source(check.__file__), self._seen(directory)]
        try:
            done = await engine.execute(home.id, argv, user=self._user)
        except EngineError as error:
            if not await asyncio.to_thread(rundir.forbid, directory):
                return
            if isinstance(error, Unreachable):
                error.passing = True  # it was there a moment ago
            raise
        if done.code not in {0, shim.ALREADY_STARTED}:
            raise CannotStart(self._refusal(home, done))

    def _refusal(self, home: Home, done: Done) -> str:
        name, said = home.name, (done.err or done.out).strip()
        if done.code == check.NOT_THERE and home.own:
            return (
                f"the docker engine's machine has another folder at {self._training_path}, or none; "
                "a worker in a container needs the training directory at the path that it has on the machine"
            )
        if done.code == check.NOT_THERE:
            mount = f"{self._training_path}:{self._seen_at}"
            return (
                f"the container {name} does not see the training directory; start it with `-v {mount}`, "
                "or set TUNEYARD_CONTAINER_TRAINING_PATH to where it is mounted"
            )
        if done.code == check.NOT_ALLOWED:
            return f"the trainer's user in the container {name} may not enter the training directory; set TUNEYARD_DOCKER_USER"
        if "executable file not found" in said:
            return f"the container {name} {WITHOUT_PYTHON}"
        return f"in the container {name}: {said or f'the launcher ended with {done.code}'}"

    async def _end(self, directory: str) -> list[int]:
        who = tree.command(directory)
        if who is None:
            return []
        if await asyncio.to_thread(tree.is_shown, who):
            return await asyncio.to_thread(tree.end, directory)
        done = await self._inside("kill", directory)
        if done is not None and done.code == 0:
            return [int(pid) for pid in json.loads(done.out)]
        return [who.pid] if tree.is_locked(directory) else []

    async def _remove(self, directory: str, home: Home) -> None:
        """Remove the container of an attempt that is over; how it was is kept if it may tell what killed the attempt."""
        async with Engine(self._address) as engine:
            if home.last is None and rundir.was_killed(rundir.look(directory)):
                home = replace(home, last=await last_of(engine, home.id))
                note(directory, home)
            await engine.remove(home.id)
            await engine.prune(LABEL, STALE)

    async def _inside(self, verb: str, directory: str, number: int = 0) -> Done | None:
        """Do it inside the container, whose processes this /proc does not show; None when the engine cannot."""
        argv = [*PYTHON, _source(tree.__file__), verb, self._seen(directory), str(number)]
        try:
            async with Engine(self._address) as engine:
                return await engine.execute(self._home(directory).id, argv, user=self._user)
        except EngineError:
            return None

    def _home(self, directory: str) -> Home:
        """The container of this attempt; what was started before this was written down runs in the configured one."""
        return home_of(directory) or Home(id=self._container, name=self._container, own=False)

    def _seen(self, path: str) -> str:
        """The path that the container knows it by."""
        return posixpath.join(self._seen_at, os.path.relpath(path, self._training_path))

    def _on_host(self, seen: str) -> str:
        """The path here of what the container knows by that path."""
        return posixpath.join(self._training_path, os.path.relpath(seen, self._seen_at))


WITHOUT_PYTHON = "has no python3 on its PATH, which every start needs; install Python 3.6 or newer in it"


async def _made(engine: Engine, name: str, description: dict[str, Any]) -> Container:
    """The container of that name, made unless it is there. A name is taken a moment before its container can be found."""
    for _ in range(LAG):
        await engine.create(name, description)
        with suppress(NoSuchContainer):
            return await engine.container(name)
        await asyncio.sleep(0.05)
    raise EngineError(f"the docker engine makes no container {name}, and says that there is one")


def _began(directory: str) -> bool:
    """Whether another start of the same attempt got its command running, in the same container; if none did, none will."""
    if rundir.forbid(directory):
        return False
    end = rundir.look(directory).exit
    return end is None or end.error is None


def _source(path: str) -> str:
    return Path(path).read_text("utf-8")
