"""A file of the API on this disk: whole under its name or not there; what broke off goes on where it was."""

import hashlib
import os
import re
from email.message import Message
from pathlib import Path

import httpx

CHUNK = 2**20
_SHA256 = re.compile(r'"([0-9a-f]{64})"')
_PARTIAL = 206


class WrongSum(Exception):
    """The bytes that came are not those that were summed."""


def download(http: httpx.Client, path: str, output: Path) -> Path:
    """Write what the server has at `path` to `output`, or into it under the server's name where it is a folder; return the file.

    httpx's errors pass, the answer of a refusal read; OSError when it cannot be written here; WrongSum with nothing left behind.
    """
    head = http.head(path)
    if head.is_error:
        raise httpx.HTTPStatusError("refused", request=head.request, response=http.get(path, headers={"Range": "bytes=0-0"}))
    etag = head.headers.get("ETag", "")
    target = output / _name(head) if output.is_dir() else output
    partial = target.with_name(f".{target.name}.{hashlib.sha256(etag.encode()).hexdigest()[:16]}.part")
    if not etag:
        partial.unlink(missing_ok=True)  # nothing tells whether its bytes are still the same
    _receive(http, path, etag, partial)
    _check(partial, etag)
    partial.replace(target)
    return target


def _receive(http: httpx.Client, path: str, etag: str, partial: Path) -> None:
    """Add to the file what it lacks."""
    with partial.open("ab") as file:
        start = file.tell()
        headers = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
        with http.stream("GET", path, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it had come
            if answer.is_error:
                answer.read()
                answer.raise_for_status()
            if answer.status_code != _PARTIAL:
                file.truncate(0)
            for chunk in answer.iter_raw(CHUNK):
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _check(partial: Path, etag: str) -> None:
    """Hold a single file against its sum; a tar has none of its own."""
    expected = _SHA256.fullmatch(etag)
    if expected is None:
        return
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected[1]:
        partial.unlink()
        raise WrongSum(f"its sha256 is {found} where {expected[1]} was announced; fetch it again")


def _name(head: httpx.Response) -> str:
    """The server's name for it, as a plain file name."""
    message = Message()
    message["Content-Disposition"] = head.headers.get("Content-Disposition", "")
    return Path(message.get_filename() or "content").name
