"""A large file sent by the tus protocol: what a broken connection, a restarted server or an ended program has cost is sent again, no more.

The server knows which uploads are under way; one of the same name, size and time of change is taken up again.
"""

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx

CHUNK = 2**20
PATIENCE = 60.0
"""Seconds without an answer after which it is given up; sent again later, it goes on from there."""
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}

Told = Callable[[int, int], None]
"""Is told how many bytes of how many are there."""


class WrongBytes(Exception):
    """The server has other bytes than this file now has: it was changed while it was sent."""


def send(http: httpx.Client, path: str, file: Path, *, replace: bool, told: Told) -> dict[str, Any]:
    """Send a file to `…/uploads` and return what the server says of it, its `upload_id` too.

    httpx's errors pass, HTTPStatusError with its answer read; OSError when the file cannot be read.
    """
    with file.open("rb") as content:
        size = os.fstat(content.fileno()).st_size
        said = _metadata(file.name, os.fstat(content.fileno()).st_mtime_ns, replace=replace)
        place = _under_way(http, path, file.name, size, said) or _begun(http, path, size, said)
        _send_all(http, place, content, size, told)
    found: dict[str, Any] = _good(http.get(place)).json()
    return found


def check(file: Path, sha256: str) -> None:
    """Hold a file against the server's sum; WrongBytes when they differ."""
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
            raise WrongBytes(f"{file} has changed while it was sent; send it again with --replace")


def _under_way(http: httpx.Client, path: str, name: str, size: int, said: str) -> str | None:
    """Find an upload that an earlier call began with this very file."""
    for each in _good(http.get(path)).json():
        if (each["name"], each["length"]) == (name, size):
            place = f"{path}/{each['id']}"
            if http.head(place, headers=TUS).headers.get("Upload-Metadata") == said:
                return place
    return None


def _begun(http: httpx.Client, path: str, size: int, said: str) -> str:
    answer = _good(http.post(path, headers=TUS | {"Upload-Length": str(size), "Upload-Metadata": said}))
    return urlsplit(answer.headers["Location"]).path


def _send_all(http: httpx.Client, place: str, content: IO[bytes], size: int, told: Told) -> None:
    """Send what the server lacks, again and again until it lacks nothing."""
    heard, pause = time.monotonic(), 0.1
    while True:
        try:
            offset = int(_good(http.head(place, headers=TUS)).headers["Upload-Offset"])
            told(offset, size)
            if offset == size:
                return
            content.seek(offset)
            headers = BYTES | {"Upload-Offset": str(offset), "Content-Length": str(size - offset)}
            _good(http.patch(place, headers=headers, content=_chunks(content, size, told)))
            heard, pause = time.monotonic(), 0.1
        except (httpx.TransportError, httpx.HTTPStatusError) as problem:
            if not _passes(problem) or time.monotonic() - heard > PATIENCE:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)


def _passes(problem: httpx.TransportError | httpx.HTTPStatusError) -> bool:
    """Whether it may go better in a moment: no answer, a server that is busy, or another connection that is still open."""
    return not isinstance(problem, httpx.HTTPStatusError) or problem.response.status_code in {423, 502, 503, 504}


def _chunks(content: IO[bytes], size: int, told: Told) -> Iterator[bytes]:
    while chunk := content.read(min(CHUNK, size - content.tell())):
        yield chunk
        told(content.tell(), size)


def _metadata(name: str, changed_ns: int, *, replace: bool) -> str:
    values = {"filename": name, "changed": str(changed_ns)} | ({"replace": "true"} if replace else {})
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def _good(response: httpx.Response) -> httpx.Response:
    """Return the answer; HTTPStatusError for a refusal."""
    if response.is_error:
        raise httpx.HTTPStatusError("refused", request=response.request, response=response)
    return response
