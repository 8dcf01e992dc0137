"""What a run left behind, recognised in the listing of its output folder by the names that trainers give.

Every file belongs to the outermost checkpoint around it, else to what its own folder and name make of it; what is still being written
under a temporary name is not listed. A finding is known by its type and path: `model_final/` is a model and, by some files, a tokenizer.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from domain.runs.artifact import ArtifactType, Found
from domain.runs.checkpoint import STATE, Verdict, is_weights

_CHECKPOINT = re.compile(r"(?:checkpoint|ckpt|step|global_step|iter)[-_]?(\d{1,18})")
_TEMPORARY = re.compile(r"tmp-.*|\..*|.*\.(?:tmp|part|partial|incomplete)|__pycache__")
_FINAL = re.compile(r"(?:.*[-_])?(?:final|merged)(?:[-_].*)?")
"""A folder so named holds the model even where no config.json says so."""

_ADAPTER = "adapter_config.json"
_TOKENIZERS = re.compile(r"tokenizer\.(?:json|model)|(?:spiece|sentencepiece)[\w.]*\.model|vocab\.\w+")
_TOKENIZER_PARTS = re.compile(
    _TOKENIZERS.pattern + r"|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|merges\.txt|chat_template\.\w+"
)
_EVENTS = re.compile(r"events\.out\.tfevents\..*")
_SINGLE = (
    (ArtifactType.evaluation, re.compile(r"(?:all|train|test|predict)_results\.json|.*eval.*\.jsonl?", re.IGNORECASE)),
    (ArtifactType.log, re.compile(r".*\.log|(?:.*_)?log\.jsonl|metrics\.jsonl|" + re.escape(STATE))),
)
"""Files that are findings by themselves, wherever they stand."""
_CONFIG = re.compile(r".*\.ya?ml|training_args\.\w+")
"""Configurations; below the top they belong to what stands there."""

_ORDER = list(ArtifactType)


class File(Struct, frozen=True):
    """One line of a listing."""

    path: str
    """Relative to the output folder, `/` between parts."""
    size: int
    """Bytes."""
    modified_at: float
    """Seconds since the epoch."""


Judge = Callable[[ArtifactType, str, dict[str, int]], Verdict]
"""Says whether a folder is complete as a checkpoint, a model or an adapter; its files come with it, sizes by their paths below it."""


def recognise(listing: Iterable[File], judge: Judge) -> list[Found]:
    """Return everything recognised: checkpoints by step, then models, adapters and the rest by path."""
    checkpoints, folders = _parted(listing)
    found = [_judged(ArtifactType.checkpoint, path, files, judge) for path, files in checkpoints.items()]
    for folder, files in folders.items():
        found += _in_folder(folder, files, judge)
    return sorted(found, key=lambda one: (_ORDER.index(one.type), one.step or 0, one.path))


def _parted(listing: Iterable[File]) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """Part a listing into checkpoints, with all that is below them, and plain folders, with what is directly in them."""
    checkpoints: dict[str, list[File]] = defaultdict(list)
    folders: dict[str, list[File]] = defaultdict(list)
    for file in listing:
        *around, name = file.path.split("/")
        depth = next((depth for depth, part in enumerate(around, 1) if _CHECKPOINT.fullmatch(part)), None)
        if any(map(_TEMPORARY.fullmatch, around[:depth])):
            continue
        if depth:
            checkpoints["/".join(around[:depth])].append(file)
        elif not _TEMPORARY.fullmatch(name):
            folders["/".join(around) or "."].append(file)
    return checkpoints, folders


def _in_folder(folder: str, files: list[File], judge: Judge) -> list[Found]:
    """Return what the files directly in one folder are."""
    names = {_name(file): file for file in files}
    found = [_single(kind, file) for name, file in names.items() for kind, pattern in _SINGLE if pattern.fullmatch(name)]
    if any(map(is_weights, names)):
        if _ADAPTER in names:
            found.append(_judged(ArtifactType.adapter, folder, files, judge))
        elif "config.json" in names or _FINAL.fullmatch(folder.rpartition("/")[2]):
            found.append(_judged(ArtifactType.model, folder, files, judge))
    if any(map(_TOKENIZERS.fullmatch, names)):
        parts = [file for name, file in names.items() if _TOKENIZER_PARTS.fullmatch(name)]
        found.append(_found(ArtifactType.tokenizer, folder, parts))
    if events := [file for name, file in names.items() if _EVENTS.fullmatch(name)]:
        found.append(_found(ArtifactType.event, folder, events))
    if folder == ".":
        found += [_single(ArtifactType.config, file) for name, file in names.items() if _CONFIG.fullmatch(name)]
    return found


def _judged(kind: ArtifactType, path: str, files: list[File], judge: Judge) -> Found:
    start = 0 if path == "." else len(path) + 1
    verdict = judge(kind, path, {file.path[start:]: file.size for file in files})
    step = verdict.step
    if kind is ArtifactType.checkpoint and step is None and (numbered := _CHECKPOINT.fullmatch(path.rpartition("/")[2])):
        step = int(numbered[1])
    return _found(kind, path, files, step=step, complete=verdict.complete, missing=verdict.missing)


def _single(kind: ArtifactType, file: File) -> Found:
    return _found(kind, file.path, [file])


def _found(
    kind: ArtifactType, path: str, files: list[File], *, step: int | None = None, complete: bool = True, missing: str | None = None
) -> Found:
    return Found(
        type=kind,
        path=path,
        name=_title(kind, path),
        step=step,
        size_bytes=sum(file.size for file in files),
        complete=complete,
        missing=missing,
        modified_at=max(file.modified_at for file in files),
    )


def _title(kind: ArtifactType, path: str) -> str:
    if path == ".":
        return kind.value
    return f"{path}/tokenizer" if kind is ArtifactType.tokenizer else path


def _name(file: File) -> str:
    return file.path.rpartition("/")[2]
