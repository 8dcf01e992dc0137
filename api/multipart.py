"""One uploaded file, handed on while it arrives: no body is ever held in memory, and its form is checked to the last byte."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Request
from litestar.exceptions import InternalServerException
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from domain.errors import Invalid, TooLarge
from infra.files.beneath import file_name

FIELD = "file"
PATIENCE = 60.0
"""Seconds without a byte after which an upload is given up."""
OVERHEAD = 64 * 1024
"""Bytes of a form that are not the file: boundaries, headers, and nothing else of any size."""

_BOUNDARY = re.compile(r"[!-~]{1,200}")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"')
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*utf-8'[^';]*'([^;\s]+)", re.IGNORECASE)
"""RFC 8187, as older Python clients send a name that is not ASCII: filename*=utf-8''%E8%AE%AD.jsonl."""

_Body = AsyncGenerator[MultipartSegment | bytes | None, None]


@asynccontextmanager
async def file_part(
    request: Request[Any, Any, Any], *, limit: int | None = None, patience: float = PATIENCE
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Yield the name and the bytes of the request's only part, `file`.

    Every flaw of the form is an Invalid, some of them only at the end of the bytes: what was read counts when the iterator has ended.
    TooLarge before anything is read when the announced length already exceeds `limit`.
    """
    parser = PushMultipartParser(_boundary(request), max_segment_count=2)
    announced = request.headers.get("content-length", "")
    if limit is not None and announced.isdecimal() and int(announced) > limit + OVERHEAD:
        raise TooLarge(f"The file has more than {limit:,} bytes; nothing of it was read.", limit_bytes=limit)
    form = _form(request, parser, patience)
    try:
        yield _name(await anext(form, None)), _content(form)
    finally:
        await form.aclose()


def _boundary(request: Request[Any, Any, Any]) -> str:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data":
        raise Invalid(f"Send the file as multipart/form-data in the field '{FIELD}', as curl -F {FIELD}=@name does.")
    boundary: str = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Invalid("The Content-Type has no usable boundary; let the HTTP client write that header itself.")
    return boundary


async def _form(request: Request[Any, Any, Any], parser: PushMultipartParser, patience: float) -> _Body:
    """Yield what the parser finds: a part's headers, its bytes, None at its end."""
    overhead = 0
    try:
        async with aclosing(received(request, patience)) as arriving:
            async for chunk in arriving:
                overhead += len(chunk)
                for event in parser.parse(chunk):
                    overhead -= len(event) if isinstance(event, bytes) else 0
                    yield event
                if overhead > OVERHEAD:
                    raise Invalid(f"The form holds more than {OVERHEAD:,} bytes beside the file; send only the field '{FIELD}'.")
        parser.close()
    except ParserLimitReached as error:
        raise Invalid("The headers of the form's part are too long; send only a name and a file name there.") from error
    except MultipartError as error:
        raise Invalid(f"The form is malformed or was cut off ({error.args[0]}); send the file again.") from error


async def received(request: Request[Any, Any, Any], patience: float = PATIENCE) -> AsyncGenerator[bytes, None]:
    """Yield a body as it arrives; Invalid when it stalls or its connection breaks."""
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(patience):
                received = await anext(stream)
            if not received:
                return
            yield received
    except TimeoutError as error:
        raise Invalid(f"Nothing arrived for {patience:g} seconds; send the file again.") from error
    except InternalServerException as error:
        raise Invalid("The connection was closed before the file was complete; send it again.") from error
    finally:
        await stream.aclose()


async def _content(form: _Body) -> AsyncIterator[bytes]:
    async for event in form:
        if isinstance(event, MultipartSegment):
            raise Invalid(f"The form holds more than one part; send only the field '{FIELD}', with one file.")
        if event is not None:
            yield event


def _name(part: MultipartSegment | bytes | None) -> str:
    if not isinstance(part, MultipartSegment) or part.name != FIELD:
        raise Invalid(f"The form's first part is not the field '{FIELD}'; send only that, as curl -F {FIELD}=@name does.")
    disposition = _QUOTED.sub('""', part.header("Content-Disposition") or "")
    extended = _EXTENDED_NAME.search(disposition)
    name = _decoded(extended[1]) if extended else part.filename
    if not name:
        raise Invalid(f"The field '{FIELD}' has no file name; send it as curl -F {FIELD}=@name does.")
    return file_name(name)


def _decoded(name: str) -> str:
    try:
        return unquote_to_bytes(name).decode()
    except UnicodeDecodeError as error:
        raise Invalid("The file name (filename*) is not UTF-8.") from error
