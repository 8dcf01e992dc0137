"""The bytes of a dataset's files over HTTP: whole, any range of them, or a look at some lines."""

import asyncio
from random import Random
from typing import Annotated, Any, Literal

from litestar import Controller, HttpMethod, Request, get, route
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from msgspec import Struct

from api.download import BYTES, Download, answer
from api.provide import Caller, TheCaller
from domain.datasets import actions
from domain.datasets.dataset import Upload
from domain.datasets.references import one_file
from domain.errors import Conflict, Flaw, Invalid, Unavailable
from domain.files import Pinned
from domain.ids import UploadId
from domain.training.problem import Problem
from domain.training.rule import Severity
from domain.training.task_type import TaskType, task_type_of
from infra.files import preview
from infra.files.content import content_of_blob
from infra.files.inspector import Subject
from infra.files.reading import open_data

MOST_LINES = 100
PATIENCE = 10.0
"""Seconds that a look at problems waits for the inspection."""


class PreviewLine(Struct, frozen=True, kw_only=True):
    """A line of a data file."""

    line: int
    text: str
    """Of a very long line only its beginning."""
    cut: bool
    problems: list[str] = []
    """What is wrong with it, in sentences; only where problems were asked for."""


class Preview(Struct, frozen=True, kw_only=True):
    """A look into a data file."""

    file: str
    upload_id: UploadId
    mode: Literal["first", "random", "problems"]
    whole: bool
    """False where the file is so long that only its beginning was looked through."""
    items: list[PreviewLine]


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

    @get("/preview")
    async def preview_file(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        file: Annotated[str | None, QueryParameter(description="Which file, where the dataset has several.")] = None,
        mode: Annotated[Literal["first", "random", "problems"], QueryParameter(description="Which lines.")] = "first",
        n: Annotated[int, QueryParameter(description=f"How many, 1 to {MOST_LINES}.")] = 10,
    ) -> Preview:
        """Show some lines of a data file: the first, some at random, or those that break a rule, with what is wrong with them."""
        if not 1 <= n <= MOST_LINES:
            raise Invalid(f"n must be 1 to {MOST_LINES}", [Flaw("n", f"must be 1 to {MOST_LINES}")])
        dataset, upload = await caller.db.read(one_file, ref, file)
        said = await _problems(caller, upload, task_type_of(dataset.task_type), n) if mode == "problems" else {}
        look = await asyncio.to_thread(_look, caller, upload, mode, n, said)
        items = [PreviewLine(line=each.number, text=each.text, cut=each.cut, problems=said.get(each.number, [])) for each in look.lines]
        return Preview(file=upload.name, upload_id=upload.id, mode=mode, whole=look.whole, items=items)


async def _problems(caller: Caller, upload: Upload, task: TaskType | None, count: int) -> dict[int, list[str]]:
    """Return lines that break a rule, errors before warnings, with what is wrong with them; Unavailable while the file is inspected."""
    pinned = Pinned(path=upload.stored_name, size_bytes=upload.bytes, sha256=upload.sha256)
    report = await caller.world.inspector.report(Subject.of(pinned), task, PATIENCE)
    if report is None:
        raise Unavailable(f"{upload.name} is still being inspected; ask again in a moment")
    found: dict[int, list[Problem]] = {}
    for problem in (each for finding in report.findings for each in finding.problems if each.line is not None):
        found.setdefault(problem.line or 0, []).append(problem)
    worst = sorted(found, key=lambda line: (all(each.rule.severity is not Severity.error for each in found[line]), line))[:count]
    return {line: [each.sentence(caller.language) for each in found[line]] for line in worst}


def _look(caller: Caller, upload: Upload, mode: str, count: int, said: dict[int, list[str]]) -> preview.Look:
    store, ratio = caller.world.store, caller.world.settings.max_unpack_ratio
    try:
        with open_data(store.root, upload.stored_name, ratio=ratio) as file:
            match mode:
                case "random":
                    return preview.some(file, count, Random())  # noqa: S311 - which lines are shown is no secret
                case "problems":
                    return preview.numbered(file, said.keys())
                case _:
                    return preview.first(file, count)
    except FileNotFoundError:
        raise Conflict(f"the bytes of {upload.name} are not on this server's disk any more; upload it again", upload=upload.id) from None
