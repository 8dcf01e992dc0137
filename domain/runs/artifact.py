"""An artifact is something a run left on disk: a checkpoint, a model, an adapter, a log for TensorBoard.

It is listed with what was found, and a checkpoint says whether it is complete; nothing is listed that is not there.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import Conflict, Flaw, Invalid
from domain.ids import ArtifactId, ProjectId, RunId
from domain.words import Word


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

    def require_resumable(self) -> None:
        """Invalid unless it is a checkpoint with all that a trainer needs to go on."""
        if self.type is not ArtifactType.checkpoint:
            message = f"{self.name} is not a checkpoint but a {self.type}; only a checkpoint can be resumed"
            raise Invalid(message, [Flaw("source_artifact_id", message)])
        if not self.complete:
            message = f"{self.name} is not complete ({self.missing}) and is never offered for resume"
            raise Invalid(message, [Flaw("source_artifact_id", message)])

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
