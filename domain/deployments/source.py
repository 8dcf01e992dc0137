"""What a deployment serves: a path, an artifact by its id, or the newest that a project has tagged."""

from typing import Protocol

from msgspec import Struct

from domain.deployments.deployment import Release
from domain.errors import Conflict, Flaw, Invalid, NotFound
from domain.hosts.ports import HasHosts
from domain.ids import ArtifactId, ProjectId
from domain.projects.ports import HasProjects
from domain.runs.artifact import Artifact, ArtifactType, TagName
from domain.runs.ports import HasRuns

ARTIFACT = "artifact:"
_SERVED = (ArtifactType.checkpoint, ArtifactType.model, ArtifactType.adapter)


class Tx(HasProjects, HasRuns, HasHosts, Protocol):
    """What a look at the source touches."""


class Source(Struct, frozen=True, kw_only=True):
    """What is served, found."""

    model: str
    """A path, relative to the training directory or absolute, or a name of the Hub."""
    release: Release | None = None
    folder: str | None = None
    """The id of the training folder that it lies in; None: any host will do."""
    names: list[str]
    """What it is called unless the caller says otherwise."""


def find(tx: Tx, model_path: str) -> Source:
    """Find what a request names; Invalid, NotFound or Conflict say why it cannot be served."""
    if flaw := _flaw(model_path):
        raise Invalid(f"model_path {flaw}", [Flaw("model_path", flaw)])
    if model_path.startswith(ARTIFACT):
        return _of_artifact(tx, _artifact(tx, model_path.removeprefix(ARTIFACT)), None, [model_path])
    project_ref, tag = tagged(model_path)
    if tag is None:
        return Source(model=model_path, names=[model_path])
    project = tx.projects.find(project_ref)
    if project is None:
        message = f"there is no project with the id or name {project_ref}, so {model_path} names nothing"
        raise NotFound(message, project=project_ref)
    artifact = newest(tx, project.id, tag)
    if artifact is None:
        message = f"project {project.name} has nothing tagged {tag} ({tag.zh}) yet; tag an artifact of one of its runs first"
        raise NotFound(message, project=project.id)
    return _of_artifact(tx, artifact, tag, list(dict.fromkeys([model_path, f"{project.name}@{tag}"])))


def tagged(model_path: str) -> tuple[str, TagName | None]:
    """Split `project@release` (code or label); a path is no such name."""
    project, at, word = model_path.rpartition("@")
    if not at or not project or "/" in model_path:
        return model_path, None
    tag = next((each for each in TagName if word in {each, each.zh, each.en, each.en.lower()}), None)
    return (project, tag) if tag else (model_path, None)


def newest(tx: HasRuns, project_id: ProjectId, tag: TagName) -> Artifact | None:
    """Return what was tagged so last, of all that can be served and is still whole."""
    found = [each for each in tx.artifacts.tagged(project_id, tag) if each.complete and each.type in _SERVED]
    return max(found, key=lambda each: each.tagged_at(tag), default=None)


def _artifact(tx: Tx, artifact_id: str) -> Artifact:
    artifact = tx.artifacts.find(ArtifactId(artifact_id))
    if artifact is None:
        message = f"there is no artifact {artifact_id}"
        raise NotFound(message, artifact=artifact_id)
    return artifact


def _of_artifact(tx: Tx, artifact: Artifact, tag: TagName | None, names: list[str]) -> Source:
    if artifact.type not in _SERVED:
        message = f"{artifact.name} is {artifact.type.en.lower()}, not a model; deploy a checkpoint, a model or an adapter"
        raise Invalid(message, [Flaw("model_path", message)])
    if not artifact.complete:
        message = f"{artifact.name} is not complete ({artifact.missing}) and cannot be served"
        raise Conflict(message, artifact=artifact.id)
    run = tx.runs.get(artifact.run_id)
    host = tx.hosts.get(run.host) if run and run.host else None
    release = Release(
        artifact_id=artifact.id,
        project_id=artifact.project_id,
        tag=tag,
        base_model=run.model if run else None,
    )
    return Source(model=artifact.relative_path, release=release, folder=host[0].folder if host else None, names=names)


def _flaw(model_path: str) -> str | None:
    if not model_path or model_path != model_path.strip() or not model_path.isprintable():
        return "must be a path or a name, without blanks at its ends or control characters"
    if model_path.startswith("-"):
        return "may not begin with a dash: the server would read it as an option"
    if ".." in model_path.split("/"):
        return "may not lead upwards with `..`"
    return None
