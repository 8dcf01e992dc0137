"""An artifact is something a run left on disk: a checkpoint, a model, an adapter, a log for TensorBoard.

It is listed with what was found, and a checkpoint says whether it is complete; nothing is listed that is not there.
"""

from datetime import datetime

from msgspec import Struct

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
    tags: list[dict[str, str]] = []
