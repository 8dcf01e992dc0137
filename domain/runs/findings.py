"""What a run left behind, recognised in the listing of its output folder by the names that trainers give.

Every file belongs to the outermost checkpoint around it, else to what its own folder and name make of it; what is still being written
under a temporary name is not listed. A finding is known by its type and path: `model_final/` is a model and, by some files, a tokenizer.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

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
_JUDGED = (ArtifactType.checkpoint, ArtifactType.model, ArtifactType.adapter)
"""Kinds whose structure tells whether they are complete."""


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


class Group(Struct, frozen=True):
    """The files of one finding, by path."""

    type: ArtifactType
    path: str
    """As `Found.path`."""
    files: list[File]

    def inside(self, file: File) -> str:
        """Return a file's path below this one; `.` when it is that very file."""
        if file.path == self.path:
            return "."
        return file.path if self.path == "." else file.path[len(self.path) + 1 :]

    def found(self, judge: Judge) -> Found:
        """Return what these files are, and whether they are complete where that can be told."""
        verdict = Verdict(complete=True)
        if self.type in _JUDGED:
            verdict = judge(self.type, self.path, {self.inside(file): file.size for file in self.files})
        step = verdict.step
        if self.type is ArtifactType.checkpoint and step is None and (numbered := _CHECKPOINT.fullmatch(self.path.rpartition("/")[2])):
            step = int(numbered[1])
        return Found(
            type=self.type,
            path=self.path,
            name=_title(self.type, self.path),
            step=step,
            size_bytes=sum(file.size for file in self.files),
            complete=verdict.complete,
            missing=verdict.missing,
            modified_at=max(file.modified_at for file in self.files),
        )


def recognise(listing: Iterable[File], judge: Judge) -> list[Found]:
    """Return everything recognised: checkpoints by step, then models, adapters and the rest by path."""
    found = [group.found(judge) for group in _groups(listing)]
    return sorted(found, key=lambda one: (_ORDER.index(one.type), one.step or 0, one.path))


def group_of(listing: Iterable[File], kind: ArtifactType, path: str) -> Group | None:
    """Return the files of one finding; None when nothing of that kind is there any more."""
    return next((group for group in _groups(listing) if (group.type, group.path) == (kind, path)), None)


def _groups(listing: Iterable[File]) -> Iterator[Group]:
    checkpoints, folders = _parted(sorted(listing, key=lambda file: file.path))
    for path, files in checkpoints.items():
        yield Group(ArtifactType.checkpoint, path, files)
    for folder, files in folders.items():
        yield from _in_folder(folder, files)


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


def _in_folder(folder: str, files: list[File]) -> Iterator[Group]:
    """Give what the files directly in one folder are."""
    names = {_name(file): file for file in files}
    yield from (Group(kind, file.path, [file]) for name, file in names.items() for kind, pattern in _SINGLE if pattern.fullmatch(name))
    if any(map(is_weights, names)):
        if _ADAPTER in names:
            yield Group(ArtifactType.adapter, folder, files)
        elif "config.json" in names or _FINAL.fullmatch(folder.rpartition("/")[2]):
            yield Group(ArtifactType.model, folder, files)
    if any(map(_TOKENIZERS.fullmatch, names)):
        yield Group(ArtifactType.tokenizer, folder, [file for name, file in names.items() if _TOKENIZER_PARTS.fullmatch(name)])
    if events := [file for name, file in names.items() if _EVENTS.fullmatch(name)]:
        yield Group(ArtifactType.event, folder, events)
    if folder == ".":
        yield from (Group(ArtifactType.config, file.path, [file]) for name, file in names.items() if _CONFIG.fullmatch(name))


def _title(kind: ArtifactType, path: str) -> str:
    if path == ".":
        return kind.value
    return f"{path}/tokenizer" if kind is ArtifactType.tokenizer else path


def _name(file: File) -> str:
    return file.path.rpartition("/")[2]
