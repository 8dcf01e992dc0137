"""The container that an attempt lives in, and what the end of the one has to do with the end of the other."""

import asyncio

import msgspec
from msgspec import Struct

from domain.processes.ports import Cause
from infra.executors import rundir
from infra.executors.engine import Container, Engine, NoSuchContainer

LAG = 20
"""How often, every 50 ms, the engine is asked for what it will show in a moment: that a container is made, or has ended."""


class Home(Struct, frozen=True, kw_only=True):
    """`container.json`: the container that an attempt lives in."""

    id: str
    name: str
    own: bool
    """It was made for this attempt, and is removed with it."""
    last: Container | None = None
    """How it was before it was removed."""


_HOME = msgspec.json.Decoder(Home)


def home_of(directory: str) -> Home | None:
    """Return what was noted for this attempt."""
    return rundir.read_json(f"{directory}/container.json", _HOME)


def note(directory: str, home: Home) -> None:
    """Write it down, before anything of the attempt can be in it."""
    rundir.place(f"{directory}/container.json", msgspec.json.encode(home))


async def last_of(engine: Engine, container: str) -> Container | None:
    """How the container is once the engine has noticed what its files show already; None when it is gone."""
    last = None
    for _ in range(LAG):
        try:
            last = await engine.container(container)
        except NoSuchContainer:
            return None
        if last.status != "running":
            break
        await asyncio.sleep(0.05)
    return last


def death(home: Home, last: Container | None, *, began: float) -> Cause | None:
    """What the end of a container has to do with the end of an attempt that began then."""
    if last is None:
        return Cause(reason=f"the container {home.name} was removed while it ran")
    if last.status not in {"running", "paused"}:
        if home.own and last.exit_code == 0:
            return None  # it ended after the attempt did, as it should
        if last.out_of_memory:
            return Cause(out_of_memory=True, reason=f"the container {home.name} was killed because its memory ran out")
        error = f": {last.error}" if last.error else ""
        return Cause(reason=f"the container {home.name} was stopped while it ran (exit code {last.exit_code}{error})")
    return Cause(reason=f"the container {home.name} was restarted while it ran") if last.started_at > began else None
