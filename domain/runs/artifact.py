"""An artifact is something a run left on disk: a checkpoint, a model, an adapter, a log for TensorBoard.

It is listed with what was found, and a checkpoint says whether it is complete; nothing is listed that is not there.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Self
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import Conflict, Flaw, Invalid
from domain.ids import ArtifactId, ProjectId, RunId
from domain.words import Word

DELETED = "it was deleted from the disk"
"""What is missing of an artifact that was there once: trainers rotate their checkpoints."""


class ArtifactType(Word):
    """What kind of thing a run left behind."""

    checkpoint = ("checkpoint", "检查点", "Checkpoint")
    model = ("model", "模型", "Model")
    adapter = ("adapter", "适配器", "Adapter")
    tokenizer = ("tokenizer", "分词器", "Tokenizer")
    event = ("event", "TensorBoard 日志", "TensorBoard log")
    evaluation = ("evaluation", "评估结果", "Evaluation")
    config = ("config", "配置文件", "Config file")
    log = ("log", "日志", "Log")


class TagName(Word):
    """What people say of a checkpoint."""

    candidate = ("candidate", "候选", "Candidate")
    release = ("release", "发布", "Release")
    archived = ("archived", "归档", "Archived")


class NewTag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may say of an artifact."""

    tag: TagName
    notes: str | None = None


class Tag(Struct, frozen=True, kw_only=True):
    """What was said of an artifact, and when."""

    tag: TagName
    notes: str | None = None
    applied_at: datetime


class Found(Struct, frozen=True, kw_only=True):
    """Something recognised in a run's output folder, before it has an id."""

    type: ArtifactType
    path: str
    """Relative to the output folder, `/` between parts; `.` is the folder itself."""
    name: str
    """What a person reads: `checkpoint-20`, `model_final`, `eval_results.json`."""
    step: int | None = None
    """Optimizer step for checkpoints, where the name or trainer_state.json tells."""
    size_bytes: int
    """Sum of its files."""
    complete: bool = True
    missing: str | None = None
    """Why it is not complete, in words; None when it is."""
    modified_at: float
    """Newest mtime of its files, seconds since the epoch."""


class Look(Struct, frozen=True, kw_only=True):
    """All that one look into a run's output folder showed."""

    findings: list[Found] = []
    root: str = ""
    """URI of the folder."""
    whole: bool = False
    """Whether that is all there is, so that what was there before and is not among it is gone."""


class FileSum(Struct, frozen=True, kw_only=True):
    """One file of an artifact, and its bytes."""

    path: str
    """Relative to the artifact, `/` between parts; `.` when the artifact is that file."""
    size_bytes: int
    sha256: str


class Summed(Struct, frozen=True, kw_only=True):
    """What was learned when every byte of an artifact was read."""

    manifest: list[FileSum] = []
    missing: str | None = None
    """Why it is not complete after all, in words; then it has no manifest."""


class Artifact(Struct, frozen=True, kw_only=True):
    """A thing a run left behind, registered."""

    id: ArtifactId
    run_id: RunId
    project_id: ProjectId
    name: str
    type: ArtifactType
    path: str
    """A URI, `file://…`."""
    step: int | None = None
    complete: bool = True
    missing: str | None = None
    size_bytes: int
    created_at: datetime
    updated_at: datetime
    tags: list[Tag] = []
    sha256: str | None = None
    """A file's own; a folder's is that of the lines which `sha256sum` prints of its manifest. None until it was reckoned."""
    manifest: list[FileSum] = []
    """Every file of it, by path."""

    @property
    def relative_path(self) -> str:
        """Where it lies below the training directory, wherever a host has mounted that."""
        path = unquote(urlsplit(self.path).path)
        return path[path.rindex(f"/runs/{self.run_id}/") + 1 :]

    @property
    def place(self) -> str:
        """Where it lies in its run's output folder, `/` between parts; `.` is that folder itself."""
        return self.path.partition(f"/{self.run_id}/output/")[2] or "."

    def require_complete(self) -> None:
        """Conflict, with what is missing, unless all its bytes are there."""
        if not self.complete:
            message = f"{self.name} is not complete: {self.missing}"
            raise Conflict(message, artifact=self.id)

    def deleted(self, at: datetime) -> Self:
        """Return it as one that is not on the disk any more."""
        return replace(self, complete=False, missing=DELETED, updated_at=at)

    def summed(self, summed: Summed, at: datetime) -> Self:
        """Return it with its sums, or as incomplete where the reading has shown that it is."""
        if summed.missing is not None:
            return replace(self, complete=False, missing=summed.missing, updated_at=at)
        manifest = sorted(summed.manifest, key=lambda file: file.path)
        return replace(self, manifest=manifest, sha256=_sum_of(manifest), size_bytes=sum(file.size_bytes for file in manifest))

    def require_resumable(self) -> None:
        """Invalid unless it is a checkpoint with all that a trainer needs to go on."""
        if self.type is not ArtifactType.checkpoint:
            message = f"{self.name} is not a checkpoint but a {self.type}; only a checkpoint can be resumed"
            raise Invalid(message, [Flaw("source_artifact_id", message)])
        if not self.complete:
            message = f"{self.name} is not complete ({self.missing}) and is never offered for resume"
            raise Invalid(message, [Flaw("source_artifact_id", message)])

    def tagged_at(self, tag: TagName) -> datetime:
        """When it was given that tag; long ago when it was not."""
        return next((each.applied_at for each in self.tags if each.tag is tag), datetime.min.replace(tzinfo=UTC))

    def tagged(self, asked: NewTag, at: datetime) -> Self:
        """Return it with this tag; Conflict when something incomplete is to be a candidate or a release."""
        if not self.complete and asked.tag is not TagName.archived:
            message = f"{self.name} is not complete ({self.missing}) and cannot be tagged {asked.tag}"
            raise Conflict(message, artifact=self.id)
        others = [each for each in self.tags if each.tag is not asked.tag]
        return replace(self, tags=[*others, Tag(tag=asked.tag, notes=asked.notes, applied_at=at)], updated_at=at)


def newest_checkpoint(artifacts: Iterable[Artifact]) -> Artifact | None:
    """Return the complete checkpoint that is furthest along."""
    complete = [each for each in artifacts if each.type is ArtifactType.checkpoint and each.complete]
    return max(complete, key=lambda each: (each.step if each.step is not None else -1, each.created_at), default=None)


def why_no_checkpoint(artifacts: Iterable[Artifact]) -> str:
    """Say why nothing was kept."""
    halves = [each for each in artifacts if each.type is ArtifactType.checkpoint]
    if not halves:
        return "the training left no checkpoint"
    return "no checkpoint is complete: " + "; ".join(f"{each.name}: {each.missing}" for each in halves)


def _sum_of(manifest: list[FileSum]) -> str:
    if [file.path for file in manifest] == ["."]:
        return manifest[0].sha256
    return sha256("".join(f"{file.sha256}  {file.path}\n" for file in manifest).encode()).hexdigest()
