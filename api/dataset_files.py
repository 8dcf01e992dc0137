"""The bytes of a dataset's files over HTTP: whole, or any range of them."""

import asyncio
from typing import Annotated, Any

from litestar import Controller, HttpMethod, Request, route
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter

from api.download import BYTES, Download, answer
from api.provide import TheCaller
from domain.datasets import actions
from infra.files.content import content_of_blob


class DatasetFileController(Controller):
    """What people may ask of a dataset's files."""

    path = "/v1/datasets/{ref:str}"
    tags = ("datasets",)

    @route(
        "/files/{upload:str}/content",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        responses={206: ResponseSpec(bytes, description="The range asked for.", media_type=BYTES)},
        media_type=BYTES,
    )
    async def get_file_content(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        ref: FromPath[str],
        upload: FromPath[str],
        wanted: Annotated[str | None, HeaderParameter(name="Range", description="One range of bytes.")] = None,
        only_if: Annotated[str | None, HeaderParameter(name="If-Range", description="An ETag: the range only if it is still this.")] = None,
    ) -> Download:
        """Give a file as it was uploaded, of any version of the dataset, by its upload_id."""
        found = await caller.db.read(actions.file, ref, upload)
        content = await asyncio.to_thread(content_of_blob, caller.world.store.root, found.stored_name, found.name, found.sha256)
        return answer(content, wanted, only_if, head=request.method == HttpMethod.HEAD, closing=caller.closing)
