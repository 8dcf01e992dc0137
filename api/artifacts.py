"""What runs left on disk, over HTTP."""

from litestar import Controller, get
from litestar.params import FromPath
from msgspec import Struct
from msgspec.structs import asdict

from api.provide import TheCaller
from domain.runs import queries
from domain.runs.artifact import Artifact


class ArtifactDetail(Artifact, frozen=True, kw_only=True):
    """An artifact as it is shown."""

    type_label: str


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


def artifact_detail(artifact: Artifact, language: str) -> ArtifactDetail:
    """Return an artifact as it is shown."""
    return ArtifactDetail(**asdict(artifact), type_label=artifact.type.label(language))
