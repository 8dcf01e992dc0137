"""Bytes over HTTP, as much of them as was asked for: one range (RFC 9110), a chunk at a time, however large the whole is."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from litestar.exceptions import HTTPException
from litestar.response.streaming import ASGIStreamingResponse
from litestar.status_codes import HTTP_200_OK, HTTP_206_PARTIAL_CONTENT, HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE
from litestar.types import Receive, Send
from typing_extensions import override

from domain.errors import Unavailable
from infra.files.content import Content

log = logging.getLogger(__name__)

CHUNK = 2**20
"""Bytes read and sent at once: all that a download keeps in memory."""
BYTES = "application/octet-stream"
"""Never what a browser would show: a trainer wrote it."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Download(ASGIStreamingResponse):
    """An answer that may break off: the server hangs up, and the client sees that there is less than was announced."""

    @override
    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send until all is sent, the client has left, or no more can be given."""
        try:
            await super().send_body(send, receive)
        except* Unavailable as problem:
            log.warning("a download broke off: %s", problem.exceptions[0])


def answer(content: Content, wanted: str | None, only_if: str | None, *, head: bool, closing: asyncio.Event) -> Download:
    """Answer with a content, or with the part of it that `Range` and `If-Range` ask for; 416 when there is no such part."""
    etag = f'"{content.etag}"' if content.etag else None
    part = _part(wanted, content.size) if only_if is None or only_if == etag else None
    start, stop = part or (0, content.size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(content.name),
        "Content-Length": str(stop - start),
        "Content-Type": BYTES,  # Litestar leaves its own out of an answer to HEAD
        "X-Content-Type-Options": "nosniff",
    }
    if etag:
        headers["ETag"] = etag
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    status = HTTP_206_PARTIAL_CONTENT if part else HTTP_200_OK
    chunks = _chunks(content, start, stop, closing)
    return Download(iterator=chunks, headers=headers, status_code=status, is_head_response=head)


def _part(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last; None for the whole, also where the header asks for what we do not know."""
    found = _RANGE.fullmatch(wanted or "")
    if found is None or found[1] + found[2] == "" or (found[1] and found[2] and int(found[1]) > int(found[2])):
        return None
    first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first > last:
        message = f"there is no such range: the content has {size} bytes"
        raise HTTPException(message, status_code=HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE, headers={"Content-Range": f"bytes */{size}"})
    return first, last + 1


def _disposition(name: str) -> str:
    """Name the file for every client: in UTF-8, and in ASCII for those that do not know that."""
    plain = re.sub(r"[^\w.() -]", "_", name, flags=re.ASCII)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _chunks(content: Content, start: int, stop: int, closing: asyncio.Event) -> AsyncIterator[bytes]:
    """Give the bytes; Unavailable when the server closes, or a file is not what it was when its length was announced."""
    while start < stop:
        if closing.is_set():
            message = "the server closes"
            raise Unavailable(message)
        chunk = await asyncio.to_thread(content.read, start, min(CHUNK, stop - start))
        start += len(chunk)
        yield chunk
