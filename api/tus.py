"""Resumable uploads by the tus protocol 1.0.0 (https://tus.io): clients of that protocol work as they are.

Core, creation (also with the first bytes), termination, checksum and expiration. Every answer says `Tus-Resumable`, as the protocol wants.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

from litestar import Controller, HttpMethod, Request, Response, delete, get, head, patch, post
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_204_NO_CONTENT
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct
from typing_extensions import override

from api.multipart import received
from api.provide import Caller, TheCaller
from api.upload import inspect_soon
from domain.datasets import actions as datasets
from domain.errors import Damaged, Flaw, Invalid, Unavailable
from domain.ids import DatasetId, TransferId, UploadId
from domain.transfers import actions
from domain.transfers.transfer import NewTransfer, Transfer
from infra.files.arriving import Arrival
from infra.files.beneath import file_name
from infra.settings import Settings

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
ALGORITHMS = ("sha1", "sha256", "md5")
BYTES = "application/offset+octet-stream"

_NUMBER = re.compile(r"[0-9]{1,18}")


class TransferInfo(Struct, frozen=True, kw_only=True):
    """A file on its way into a dataset."""

    id: TransferId
    dataset_id: DatasetId
    name: str
    length: int
    received: int
    status: Literal["under_way", "complete"]
    upload_id: UploadId | None
    """The file it became."""
    created_at: datetime
    touched_at: datetime
    expires_at: datetime


class Resumable(ASGIMiddleware):
    """Says in every answer, refusals too, which version of the protocol is spoken here; to OPTIONS, which Litestar answers itself, all."""

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Add the headers."""
        told = {"Tus-Resumable": VERSION}
        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.OPTIONS:
            settings: Settings = scope["litestar_app"].state.settings
            told |= {"Tus-Version": VERSION, "Tus-Max-Size": str(settings.max_file_bytes)}
            told |= {"Tus-Extension": EXTENSIONS, "Tus-Checksum-Algorithm": ",".join(ALGORITHMS)}

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders(message).update(told)
            await send(message)

        await next_app(scope, receive, say)


class TusController(Controller):
    """Uploads into a dataset that may break and go on."""

    path = "/v1/datasets/{ref:str}/uploads"
    tags = ("datasets",)
    middleware = (Resumable(),)

    @get("/")
    async def list_uploads(self, caller: TheCaller, ref: FromPath[str]) -> list[TransferInfo]:
        """List the uploads into a dataset that are not complete, oldest first."""
        found = await caller.db.read(actions.under_way, ref)
        return [_info(transfer, caller) for transfer in found]

    @post("/", request_max_body_size=None)
    async def begin_upload(self, request: Request[Any, Any, Any], caller: TheCaller, ref: FromPath[str]) -> Response[None]:
        """Begin an upload (tus creation): `Upload-Length`, and in `Upload-Metadata` a `filename`, and `replace` to take a file's place."""
        _require_version(request)
        transfer = await caller.world.arriving.begin(caller.db, ref, _asked(request))
        if request.headers.get("content-type") == BYTES or transfer.length == 0:
            transfer = await _go_on(request, caller, transfer.dataset_id, transfer.id, 0)
        place = f"/v1/datasets/{transfer.dataset_id}/uploads/{transfer.id}"
        return Response(None, status_code=HTTP_201_CREATED, headers=_headers(transfer, caller) | {"Location": place})

    @get("/{upload:str}")
    async def get_upload(self, caller: TheCaller, ref: FromPath[str], upload: FromPath[str]) -> TransferInfo:
        """Show how far an upload has come, without disturbing it."""
        return _info(await caller.db.read(actions.get, ref, upload), caller)

    @head("/{upload:str}")
    async def find_offset(
        self, request: Request[Any, Any, Any], caller: TheCaller, ref: FromPath[str], upload: FromPath[str]
    ) -> Response[None]:
        """Say where to go on (tus): `Upload-Offset`. A connection that is still sending ends here."""
        _require_version(request)
        async with caller.world.arriving.held(caller.db, ref, upload) as arrival:
            await _finish(caller, arrival)
            headers = _headers(arrival.transfer, caller) | {"Cache-Control": "no-store", "Upload-Length": str(arrival.transfer.length)}
        if arrival.transfer.metadata:
            headers["Upload-Metadata"] = arrival.transfer.metadata
        return Response(None, status_code=HTTP_200_OK, headers=headers)

    @patch("/{upload:str}", request_max_body_size=None, status_code=HTTP_204_NO_CONTENT)
    async def send_bytes(
        self, request: Request[Any, Any, Any], caller: TheCaller, ref: FromPath[str], upload: FromPath[str]
    ) -> Response[None]:
        """Send bytes from `Upload-Offset` on (tus); with the last of them the file is the dataset's."""
        return await _sent(request, caller, ref, upload)

    @delete("/{upload:str}")
    async def give_up_upload(self, request: Request[Any, Any, Any], caller: TheCaller, ref: FromPath[str], upload: FromPath[str]) -> None:
        """Give an upload up (tus termination): what has come of it is removed."""
        _require_version(request)
        await _given_up(caller, ref, upload)

    @post("/{upload:str}", request_max_body_size=None, include_in_schema=False, status_code=HTTP_204_NO_CONTENT)
    async def override_method(
        self, request: Request[Any, Any, Any], caller: TheCaller, ref: FromPath[str], upload: FromPath[str]
    ) -> Response[None]:
        """Do what `X-HTTP-Method-Override` says, for clients that can only POST."""
        match request.headers.get("x-http-method-override"):
            case "PATCH":
                return await _sent(request, caller, ref, upload)
            case "DELETE":
                _require_version(request)
                await _given_up(caller, ref, upload)
                return Response(None, status_code=HTTP_204_NO_CONTENT)
            case _:
                raise HTTPException("send PATCH, HEAD or DELETE", status_code=405, headers={"Allow": "PATCH, HEAD, GET, DELETE, OPTIONS"})


async def _sent(request: Request[Any, Any, Any], caller: Caller, ref: str, upload: str) -> Response[None]:
    _require_version(request)
    if request.headers.get("content-type") != BYTES:
        raise HTTPException(f"send the bytes as {BYTES}", status_code=415)
    transfer = await _go_on(request, caller, ref, upload, _number(request, "Upload-Offset"))
    return Response(None, status_code=HTTP_204_NO_CONTENT, headers=_headers(transfer, caller))


async def _go_on(request: Request[Any, Any, Any], caller: Caller, ref: str, upload: str, offset: int) -> Transfer:
    check = _check(request.headers.get("upload-checksum"))
    async with caller.world.arriving.held(caller.db, ref, upload) as arrival:
        async with aclosing(_until_closing(request, caller)) as chunks:
            await arrival.receive(offset, chunks, check)
        await _finish(caller, arrival)
    return arrival.transfer


async def _finish(caller: Caller, arrival: Arrival) -> None:
    """Make what has come whole one of the dataset's files, and have it judged."""
    if await arrival.finish() and arrival.transfer.upload_id is not None:
        dataset = await caller.db.read(datasets.get, arrival.transfer.dataset_id)
        inspect_soon(caller, dataset, await caller.db.read(datasets.file, dataset.id, arrival.transfer.upload_id))


async def _until_closing(request: Request[Any, Any, Any], caller: Caller) -> AsyncGenerator[bytes, None]:
    """Give the bytes as they come; a server that closes lets the client go on later, with the next one."""
    async with aclosing(received(request)) as arriving:
        async for chunk in arriving:
            yield chunk
            if caller.closing.is_set():
                raise Unavailable("the server closes; go on in a moment")


async def _given_up(caller: Caller, ref: str, upload: str) -> None:
    async with caller.world.arriving.held(caller.db, ref, upload):
        transfer = await caller.db.run(actions.give_up, ref, upload)
        caller.world.arriving.drop(transfer.id)


def _asked(request: Request[Any, Any, Any]) -> NewTransfer:
    if request.headers.get("upload-concat") or request.headers.get("upload-defer-length"):
        raise Invalid("Uploads in parallel parts and of unknown length are not taken; send one file with its Upload-Length.")
    said = request.headers.get("upload-metadata", "")
    values = _metadata(said)
    name = values.get("filename") or values.get("name")
    if not name:
        message = "Upload-Metadata has no filename; send `filename <base64 of the name>`"
        raise Invalid(message, [Flaw("Upload-Metadata", message)])
    replace = values.get("replace", "false") in {"true", "1", ""}
    return NewTransfer(name=file_name(name), length=_number(request, "Upload-Length"), replace=replace, metadata=said)


def _metadata(said: str) -> dict[str, str]:
    """Read `key base64,key base64`; Invalid when it is none."""
    pairs = [pair.strip().partition(" ") for pair in said.split(",")] if said else []
    try:
        return {key: base64.b64decode(value.strip(), validate=True).decode() for key, _, value in pairs}
    except ValueError:  # binascii's and Unicode's are its kinds
        message = "Upload-Metadata must be `key base64,key base64`, each value in UTF-8"
        raise Invalid(message, [Flaw("Upload-Metadata", message)]) from None


def _number(request: Request[Any, Any, Any], name: str) -> int:
    said = request.headers.get(name, "")
    if not _NUMBER.fullmatch(said):
        message = f"{name} must be a number of bytes"
        raise Invalid(message, [Flaw(name, message)])
    return int(said)


def _require_version(request: Request[Any, Any, Any]) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        headers = {"Tus-Version": VERSION}
        raise HTTPException(f"this is tus {VERSION}: send Tus-Resumable: {VERSION}", status_code=412, headers=headers)


def _headers(transfer: Transfer, caller: Caller) -> dict[str, str]:
    headers = {"Upload-Offset": str(transfer.received)}
    if transfer.upload_id is None:
        headers["Upload-Expires"] = format_datetime(_expires(transfer, caller), usegmt=True)
    return headers


def _expires(transfer: Transfer, caller: Caller) -> datetime:
    return transfer.touched_at + timedelta(seconds=caller.world.settings.upload_expiry_seconds)


def _info(transfer: Transfer, caller: Caller) -> TransferInfo:
    return TransferInfo(
        id=transfer.id,
        dataset_id=transfer.dataset_id,
        name=transfer.name,
        length=transfer.length,
        received=transfer.received,
        status="under_way" if transfer.upload_id is None else "complete",
        upload_id=transfer.upload_id,
        created_at=transfer.created_at,
        touched_at=transfer.touched_at,
        expires_at=_expires(transfer, caller),
    )


class _Checksum:
    """What `Upload-Checksum` announced."""

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._algorithm = algorithm
        self._expected = expected
        self._sum = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, batch: bytes, /) -> None:
        self._sum.update(batch)

    def require_equal(self) -> None:
        if self._sum.digest() != self._expected:
            raise Damaged(f"the {self._algorithm} of what arrived is not the Upload-Checksum; none of it was kept, send it again")


def _check(said: str | None) -> _Checksum | None:
    if said is None:
        return None
    algorithm, _, encoded = said.partition(" ")
    try:
        expected = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        expected = b""
    if algorithm not in ALGORITHMS or not expected:
        message = f"Upload-Checksum must be one of {', '.join(ALGORITHMS)} and a base64 sum"
        raise Invalid(message, [Flaw("Upload-Checksum", message)])
    return _Checksum(algorithm, expected)
