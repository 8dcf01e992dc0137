"""What runs left on disk, over HTTP."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from litestar import Controller, HttpMethod, Request, get, post, route
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct
from msgspec.structs import asdict

from api.download import BYTES, Download, answer
from api.provide import TheCaller
from domain.ids import ArtifactId, ProjectId, RunId
from domain.runs import actions, queries
from domain.runs.artifact import Artifact, ArtifactType, FileSum, NewTag, TagName
from infra.files.content import content_of


class AppliedTag(Struct, frozen=True, kw_only=True):
    """A tag as the documents show it: the Chinese word as its value, the code beside it."""

    value: str
    code: TagName
    notes: str | None
    applied_at: datetime


class ArtifactDetail(Struct, frozen=True, kw_only=True):
    """An artifact as it is shown."""

    id: ArtifactId
    run_id: RunId
    project_id: ProjectId
    name: str
    type: ArtifactType
    type_label: str
    path: str
    """A URI, `file://…`."""
    step: int | None
    complete: bool
    missing: str | None
    size_bytes: int
    sha256: str | None
    """A file's own; a folder's is that of the lines which `sha256sum` prints of its manifest. Null until the run has ended."""
    created_at: datetime
    updated_at: datetime
    tags: list[AppliedTag]


class WholeArtifact(ArtifactDetail, frozen=True, kw_only=True):
    """An artifact with every file of it."""

    manifest: list[FileSum]
    """By path; empty until the sums are known."""


class ArtifactList(Struct, frozen=True, kw_only=True):
    """What a run left on disk, oldest first."""

    items: list[ArtifactDetail]


class ArtifactController(Controller):
    """What people may ask of a run's artifacts."""

    path = "/projects/{ref:str}/runs/{run:str}/artifacts"
    tags = ("artifacts",)

    @get()
    async def list_artifacts(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str]) -> ArtifactList:
        """List checkpoints, models, logs for TensorBoard, evaluations and configs that the run left."""
        found = await caller.db.read(queries.artifacts, ref, run)
        return ArtifactList(items=[artifact_detail(artifact, caller.language) for artifact in found])

    @get("/{artifact:str}")
    async def get_artifact(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str], artifact: FromPath[str]) -> WholeArtifact:
        """Show one artifact, with its files and their sums."""
        return _whole(await caller.db.read(queries.artifact, ref, run, artifact), caller.language)

    @post("/{artifact:str}/tag", status_code=HTTP_200_OK)
    async def tag_artifact(
        self, caller: TheCaller, ref: FromPath[str], run: FromPath[str], artifact: FromPath[str], data: JSONBody[NewTag]
    ) -> WholeArtifact:
        """Tag a checkpoint as candidate, release or archived, with notes."""
        return _whole(await caller.db.run(actions.tag, ref, run, artifact, data), caller.language)

    @route(
        "/{artifact:str}/content",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        responses={206: ResponseSpec(bytes, description="The range asked for.", media_type=BYTES)},
        media_type=BYTES,
    )
    async def get_content(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        artifact: FromPath[str],
        path: Annotated[str | None, QueryParameter(description="Only this file of a folder, as the manifest names it.")] = None,
        wanted: Annotated[str | None, HeaderParameter(name="Range", description="One range of bytes.")] = None,
        only_if: Annotated[str | None, HeaderParameter(name="If-Range", description="An ETag: the range only if it is still this.")] = None,
    ) -> Download:
        """Give the bytes of a complete artifact: a file as it is, a folder as a tar; any range of either may be asked for."""
        owner = await caller.db.read(queries.get, ref, run)
        found = await caller.db.read(queries.artifact, ref, run, artifact)
        content = await asyncio.to_thread(content_of, Path(caller.world.settings.training_path), owner, found, path)
        return answer(content, wanted, only_if, head=request.method == HttpMethod.HEAD, closing=caller.closing)


def artifact_detail(artifact: Artifact, language: str) -> ArtifactDetail:
    """Return an artifact as it is shown."""
    tags = [AppliedTag(value=each.tag.zh, code=each.tag, notes=each.notes, applied_at=each.applied_at) for each in artifact.tags]
    facts: dict[str, Any] = asdict(artifact) | {"tags": tags}
    del facts["manifest"]
    return ArtifactDetail(**facts, type_label=artifact.type.label(language))


def _whole(artifact: Artifact, language: str) -> WholeArtifact:
    return WholeArtifact(**asdict(artifact_detail(artifact, language)), manifest=artifact.manifest)
