"""The docker engine, as far as trainings need it: looking at a container, and running a command in it, over the engine's own socket."""

import asyncio
import json
import os
from contextlib import suppress
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from msgspec import Struct

SCHEME = "unix://"
PATIENCE = httpx.Timeout(30.0, connect=5.0)
"""Seconds for one answer: a busy engine takes its time to start fifty commands at once."""
SETTLING = 200
"""How often the engine is asked, every 10 ms, for the exit code of what has closed its output; it nearly always knows at once."""


class EngineError(Exception):
    """The engine cannot be reached, or does not do what it is asked; the reason in words."""


class Unreachable(EngineError):
    """Nobody answers at the engine's address, or not for long. `passing`: its socket is there, as while it is being restarted."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class NoSuchContainer(EngineError):
    """There is no container of that name."""


class NoSuchImage(EngineError):
    """There is no such image on this machine."""


class Container(Struct, frozen=True, kw_only=True):
    """A container, as the engine describes it."""

    id: str
    name: str
    status: str
    """`running`, or why not: `created`, `paused`, `restarting`, `exited`, `dead`."""
    working_dir: str
    """Where a command starts in it unless told otherwise."""
    started_at: float
    """Seconds since the epoch, for the last time; long ago when never."""
    exit_code: int
    """Of its main process, once that has ended."""
    out_of_memory: bool
    """The kernel killed its main process because its memory ran out."""
    error: str
    """Why it could not be started or kept running; empty when nothing is known."""


class Done(Struct, frozen=True):
    """What came of a command: its exit code, and what it said."""

    code: int
    out: str
    err: str


class Engine:
    """One conversation with the engine at a `unix://` address; EngineError when there is none to be had."""

    def __init__(self, address: str) -> None:
        if not address.startswith(SCHEME):
            raise EngineError(f"DOCKER_HOST is {address}, but the engine must be this machine's own: a {SCHEME} socket")
        self._address = address
        # verify=False spares 20 ms of reading certificates that a socket of this machine has no use for.
        transport = httpx.AsyncHTTPTransport(uds=address.removeprefix(SCHEME), verify=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=PATIENCE, trust_env=False)

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        await self._http.aclose()

    async def container(self, name: str) -> Container:
        """Describe a container; NoSuchContainer."""
        said = json.loads(await self._ask("GET", f"/containers/{name}/json"))
        state = said["State"]
        return Container(
            id=said["Id"],
            name=said["Name"].removeprefix("/"),
            status=state["Status"],
            working_dir=said["Config"].get("WorkingDir") or "/",
            started_at=datetime.fromisoformat(state["StartedAt"]).timestamp(),
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
            error=state["Error"],
        )

    async def running(self) -> list[str]:
        """Name the containers that run."""
        said = json.loads(await self._ask("GET", "/containers/json"))
        return sorted(name.removeprefix("/") for each in said for name in each["Names"][:1])

    async def working_dir(self, image: str) -> str:
        """Where a command starts in a container of this image unless told otherwise; NoSuchImage."""
        said = json.loads(await self._ask("GET", f"/images/{image}/json"))
        return (said["Config"] or {}).get("WorkingDir") or "/"

    async def create(self, name: str, description: dict[str, Any]) -> None:
        """Make a container unless there is one of that name."""
        await self._ask("POST", f"/containers/create?name={name}", description, fine=httpx.codes.CONFLICT)

    async def start(self, container: str) -> None:
        """Start a container unless it runs."""
        await self._ask("POST", f"/containers/{container}/start", fine=httpx.codes.NOT_MODIFIED)

    async def remove(self, container: str) -> None:
        """End and remove a container, if it is there."""
        with suppress(NoSuchContainer):
            await self._ask("DELETE", f"/containers/{container}?force=true&v=true", fine=httpx.codes.CONFLICT)

    async def prune(self, label: str, age: str) -> None:
        """Remove the containers with this label that do not run and were made so long ago."""
        filters = json.dumps({"label": [label], "until": [age]})
        await self._ask("POST", f"/containers/prune?{urlencode({'filters': filters})}", fine=httpx.codes.CONFLICT)

    async def execute(self, container: str, argv: list[str], *, user: str | None = None) -> Done:
        """Run a command in a running container to its end. If this raises, nobody knows whether it ran."""
        asked = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True} | ({"User": user} if user else {})
        created = json.loads(await self._ask("POST", f"/containers/{container}/exec", asked))["Id"]
        out, err = _parted(await self._ask("POST", f"/exec/{created}/start", {"Detach": False, "Tty": False}))
        return Done(await self._code(created), out, err)

    async def _code(self, execution: str) -> int:
        for _ in range(SETTLING):
            code = json.loads(await self._ask("GET", f"/exec/{execution}/json"))["ExitCode"]
            if code is not None:
                return int(code)
            await asyncio.sleep(0.01)
        raise EngineError("the docker engine does not say what became of a command")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, fine: int = httpx.codes.OK) -> bytes:
        """The engine's answer, of any success or of that other status which means that it was so already."""
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            reason = str(error.__cause__ or "") or str(error) or type(error).__name__
            passing = os.access(self._address.removeprefix(SCHEME), os.W_OK)
            raise Unreachable(f"the docker engine at {self._address} cannot be reached ({reason})", passing=passing) from None
        if answer.is_success or answer.status_code == fine:
            return answer.content
        reason = _message(answer)
        if answer.status_code == httpx.codes.NOT_FOUND and reason.startswith("No such container"):
            raise NoSuchContainer(reason)
        if answer.status_code == httpx.codes.NOT_FOUND and reason.casefold().startswith("no such image"):
            raise NoSuchImage(reason)
        raise EngineError(f"the docker engine refuses: {reason}")


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _parted(stream: bytes) -> tuple[str, str]:
    """Standard output and standard error, which come interleaved: each part has a byte for which, three of nothing, four of length."""
    parts = {1: b"", 2: b""}
    at = 0
    while at + 8 <= len(stream):
        end = at + 8 + int.from_bytes(stream[at + 4 : at + 8], "big")
        parts[stream[at]] = parts.get(stream[at], b"") + stream[at + 8 : end]
        at = end
    return parts[1].decode(errors="replace"), parts[2].decode(errors="replace")
