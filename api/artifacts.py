"""What runs left on disk, over HTTP."""

from datetime import datetime
from typing import Any

from litestar import Controller, get, post
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct
from msgspec.structs import asdict

from api.provide import TheCaller
from domain.ids import ArtifactId, ProjectId, RunId
from domain.runs import actions, queries
from domain.runs.artifact import Artifact, ArtifactType, NewTag, TagName


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
    created_at: datetime
    updated_at: datetime
    tags: list[AppliedTag]


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
    async def get_artifact(self, caller: TheCaller, ref: FromPath[str], run: FromPath[str], artifact: FromPath[str]) -> ArtifactDetail:
        """Show one artifact."""
        return artifact_detail(await caller.db.read(queries.artifact, ref, run, artifact), caller.language)

    @post("/{artifact:str}/tag", status_code=HTTP_200_OK)
    async def tag_artifact(
        self, caller: TheCaller, ref: FromPath[str], run: FromPath[str], artifact: FromPath[str], data: JSONBody[NewTag]
    ) -> ArtifactDetail:
        """Tag a checkpoint as candidate, release or archived, with notes."""
        return artifact_detail(await caller.db.run(actions.tag, ref, run, artifact, data), caller.language)


def artifact_detail(artifact: Artifact, language: str) -> ArtifactDetail:
    """Return an artifact as it is shown."""
    tags = [AppliedTag(value=each.tag.zh, code=each.tag, notes=each.notes, applied_at=each.applied_at) for each in artifact.tags]
    facts: dict[str, Any] = asdict(artifact) | {"tags": tags}
    return ArtifactDetail(**facts, type_label=artifact.type.label(language))
