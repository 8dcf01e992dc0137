"""The docker engine, as far as trainings need it: looking at a container, and running a command in it, over the engine's own socket."""

import asyncio
import json
from typing import Any, Self

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
    """Nobody answers at the engine's address, or not for long."""


class NoSuchContainer(EngineError):
    """There is no container of that name."""


class Container(Struct, frozen=True, kw_only=True):
    """A container, as the engine describes it."""

    id: str
    status: str
    """`running`, or why not: `created`, `paused`, `restarting`, `exited`, `dead`."""
    working_dir: str
    """Where a command starts in it unless told otherwise."""


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
        return Container(id=said["Id"], status=said["State"]["Status"], working_dir=said["Config"].get("WorkingDir") or "/")

    async def running(self) -> list[str]:
        """Name the containers that run."""
        said = json.loads(await self._ask("GET", "/containers/json"))
        return sorted(name.removeprefix("/") for each in said for name in each["Names"][:1])

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

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            reason = str(error.__cause__ or "") or str(error) or type(error).__name__
            raise Unreachable(f"the docker engine at {self._address} cannot be reached ({reason})") from None
        if answer.is_success:
            return answer.content
        reason = _message(answer)
        if answer.status_code == httpx.codes.NOT_FOUND and reason.startswith("No such container"):
            raise NoSuchContainer(reason)
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
