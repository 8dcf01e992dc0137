"""The one file of a multipart body, on its way to the disk."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.openapi.spec import OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from api.multipart import file_part
from api.provide import Caller
from domain.datasets.dataset import Dataset, Upload
from domain.files import Kept, Pinned
from domain.training.task_type import task_type_of
from infra.files.inspector import Subject


@dataclass
class FileUpload(Operation):
    """An operation whose body is a form with one file: the handler reads it as a stream, so its signature does not say so."""

    def __post_init__(self) -> None:
        """Describe the form."""
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file}, required=["file"])
        self.request_body = RequestBody({"multipart/form-data": OpenAPIMediaType(form)}, required=True)


async def keep_file(request: Request[Any, Any, Any], caller: Caller, limit: int) -> Kept:
    """Stream the one file of a multipart body to disk."""
    async with file_part(request, limit=limit) as (name, chunks):
        stored = await caller.world.store.keep(chunks, limit=limit, name=name)
    return caller.world.store.kept(stored, name)


def inspect_soon(caller: Caller, dataset: Dataset, upload: Upload) -> None:
    """Have a file that has arrived judged, without waiting."""
    pinned = Pinned(path=upload.stored_name, size_bytes=upload.bytes, sha256=upload.sha256)
    caller.world.inspector.soon(Subject.of(pinned), task_type_of(dataset.task_type))
