"""Uploaded files for a host that does not share the server's training folder: fetched by their sum, so nothing else can arrive."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path, PurePosixPath

import httpx

from domain.errors import DomainError
from domain.files import Pinned
from domain.processes.ports import CannotStart
from infra.files.store import FileStore
from workers.hand import Hand

PATIENCE = httpx.Timeout(60.0, connect=5.0)
"""Seconds of silence in the middle of a file after which it is given up for now."""


async def fetch_missing(inputs: Mapping[str, Pinned], hand: Hand) -> None:
    """Bring every uploaded input here that is not. CannotStart when the server does not give one."""
    missing = {name: pinned for name, pinned in inputs.items() if pinned.mtime_ns is None and not (hand.root / pinned.path).exists()}
    if not missing:
        return
    token = hand.settings.token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=hand.settings.url, headers=headers, timeout=PATIENCE, trust_env=False) as server:
        for name, pinned in missing.items():
            await _fetch(server, name, pinned, hand.root)


async def _fetch(server: httpx.AsyncClient, name: str, pinned: Pinned, root: Path) -> None:
    blob = PurePosixPath(pinned.path).name
    try:
        async with server.stream("GET", f"/_internal/blobs/{blob}") as answer:
            if answer.status_code != httpx.codes.OK:
                message = f"{name} is not here, and the server at {server.base_url} answers {answer.status_code} for it"
                raise CannotStart(message, passing=answer.is_server_error)
            kept = await FileStore(root).keep(_chunks(answer), limit=pinned.size_bytes, name=blob)
    except httpx.HTTPError as problem:
        why = str(problem) or type(problem).__name__
        message = f"{name} is not here, and the server cannot be reached at {server.base_url} ({why}); set TUNEYARD_URL to where it listens"
        raise CannotStart(message, passing=True) from None
    except DomainError as problem:
        raise CannotStart(f"{name} could not be fetched: {problem.detail}", passing=True) from None
    except OSError as problem:
        raise CannotStart(f"{name} could not be kept below {root}: {problem}", passing=True) from None
    if not blob.startswith(kept.sha256):
        raise CannotStart(f"{name} arrived with other bytes than were uploaded", passing=True)


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_bytes():
        yield chunk
