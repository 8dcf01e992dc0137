"""Whether a folder of weights is complete, judged by its structure alone: names, sizes, and a few bytes of some files.

It errs on the side of no: a checkpoint that is called complete is whole, one that is not says what is missing. Nothing is hashed here, so a
verdict on 30 GB takes milliseconds. Optimizer state is not demanded (`save_only_model` leaves none, and a resume can do without); where it
stands, it must be whole.
"""

import json
import re
from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

MARKER = "checkpoint-is-incomplete.txt"
"""Hugging Face trainers keep this file there for as long as they write."""

STATE = "trainer_state.json"
"""Hugging Face trainers write it last; it tells the step."""

_MAX_HEADER_BYTES = 100 * 1000 * 1000
"""The limit of the safetensors library itself."""
_MAX_JSON_BYTES = 64 * 1024 * 1024
_MAX_STEP = 2**63 - 1

_WEIGHTS = re.compile(
    r"(?:.*/)?(?:(?!optimizer|scheduler|rng)[^/]*\.safetensors"
    r"|(?:pytorch_model|adapter_model|model|consolidated)[^/]*\.(?:bin|pt|pth|npz)"
    r"|[^/]*model_states\.pt|[^/]*\.distcp)"
)
_PICKLED = re.compile(r".*\.(?:bin|pt|pth)")
_INDEX = re.compile(r".*\.(?:safetensors|bin)\.index\.json")
_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.\w+)")
_UNFINISHED = re.compile(r".*\.(?:tmp|part|partial|incomplete)")
_OF_HUGGING_FACE = re.compile(r"training_args\.bin|rng_state\w*\.pth")
"""What Hugging Face trainers, and nobody else, write before their state."""

_ZIP_BEGIN, _ZIP_END, _ZIP_END_BYTES = b"PK\x03\x04", b"PK\x05\x06", 22


class Folder(Protocol):
    """A folder on a disk, looked at without following anything out of it."""

    def files(self) -> Mapping[str, int]:
        """Return each file below the folder with its size in bytes; paths are relative, `/` between parts."""
        ...

    def read(self, path: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a file; fewer at its end, none when it cannot be read."""
        ...


class Verdict(Struct, frozen=True, kw_only=True):
    """What a look at the folder says."""

    complete: bool
    missing: str | None = None
    """What is missing or broken, in words; None when it is complete."""
    step: int | None = None
    """Optimizer step, where the trainer's state tells."""


class _Broken(Exception):
    """Something is missing; the text is the verdict."""


def judge(folder: Folder) -> Verdict:
    """Judge a checkpoint: whether a training can go on from it."""
    step, missing = None, None
    files = folder.files()
    try:
        step = _step(folder, files)
        _check_state(files)
        _check(folder, files)
    except _Broken as broken:
        missing = str(broken)
    return Verdict(complete=missing is None, missing=missing, step=step)


def judge_weights(folder: Folder) -> Verdict:
    """Judge a final model or an adapter: whether it can be loaded; nothing to go on from is asked of it."""
    try:
        _check(folder, folder.files())
    except _Broken as broken:
        return Verdict(complete=False, missing=str(broken))
    return Verdict(complete=True)


def is_weights(path: str) -> bool:
    """Whether a file holds a model's weights, by its name."""
    return _WEIGHTS.fullmatch(path) is not None


def _step(folder: Folder, files: Mapping[str, int]) -> int | None:
    if STATE not in files or MARKER in files:
        return None
    step = _json(folder, STATE, files[STATE]).get("global_step")
    return step if type(step) is int and 0 <= step <= _MAX_STEP else None


def _check_state(files: Mapping[str, int]) -> None:
    if STATE not in files and MARKER not in files and any(map(_OF_HUGGING_FACE.fullmatch, files)):
        raise _Broken(f"{STATE}, which the trainer writes last, is missing")


def _check(folder: Folder, files: Mapping[str, int]) -> None:
    _check_finished(files)
    _check_weights(files)
    _check_shards(folder, files)
    for path, size in files.items():
        _check_file(folder, path, size)


def _check_finished(files: Mapping[str, int]) -> None:
    if MARKER in files:
        raise _Broken(f"the trainer has not finished writing it ({MARKER} is there)")
    unfinished = next((path for path in files if _UNFINISHED.fullmatch(path)), None)
    if unfinished:
        raise _Broken(f"{unfinished} was not finished")


def _check_weights(files: Mapping[str, int]) -> None:
    if not any(map(is_weights, files)):
        raise _Broken("no weights are there")


def _check_shards(folder: Folder, files: Mapping[str, int]) -> None:
    """Check that every shard is there which an index lists, or whose number its neighbours count."""
    needed: set[str] = set()
    for path, size in files.items():
        place = path[: path.rfind("/") + 1]
        if _INDEX.fullmatch(path):
            shards = _json(folder, path, size).get("weight_map")
            if not isinstance(shards, dict):
                raise _Broken(f"{path} lists no weights")
            needed.update(f"{place}{shard}" for shard in shards.values())
        elif (shard := _SHARD.fullmatch(path)) and is_weights(path):
            needed.update(f"{shard['name']}-{number:05}-of-{shard['count']}{shard['end']}" for number in range(1, int(shard["count"]) + 1))
    absent = sorted(needed.difference(files))
    if absent:
        raise _Broken(
            f"{absent[0]} is missing" if len(absent) == 1 else f"{len(absent)} of {len(needed)} shards are missing, {absent[0]} first"
        )


def _check_file(folder: Folder, path: str, size: int) -> None:
    if path.endswith(".safetensors"):
        _check_safetensors(folder, path, size)
    elif _PICKLED.fullmatch(path):
        _check_pickled(folder, path, size)
    elif size == 0 and is_weights(path):
        raise _Broken(f"{path} is empty")


def _check_safetensors(folder: Folder, path: str, size: int) -> None:
    """Check that a file has exactly the bytes its own header announces."""
    length = int.from_bytes(_read(folder, path, 0, 8, of=size), "little")
    if length > min(_MAX_HEADER_BYTES, size - 8):
        raise _Broken(f"{path} is cut off in its header" if length <= _MAX_HEADER_BYTES else f"{path} is no safetensors file")
    try:
        header = msgspec.json.decode(_read(folder, path, 8, length, of=size), type=dict[str, dict[str, object]])
        ends = [_end(tensor) for name, tensor in header.items() if name != "__metadata__"]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _Broken(f"{path} has a broken header") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise _Broken(f"{path} has {size} bytes where its header announces {expected}")


def _end(tensor: dict[str, object]) -> int:
    return msgspec.convert(tensor.get("data_offsets"), tuple[int, int])[1]


def _check_pickled(folder: Folder, path: str, size: int) -> None:
    """Check that a file of `torch.save` begins as it should and, where it is a zip, that its directory, written last, is there."""
    start = _read(folder, path, 0, min(64, size), of=size)
    if not start.strip(b"\0"):
        raise _Broken(f"{path} is empty" if not size else f"{path} holds only zeros")
    if not start.startswith(_ZIP_BEGIN) and not _ZIP_BEGIN.startswith(start):
        return  # what older versions wrote has no such end
    end = _read(folder, path, max(0, size - _ZIP_END_BYTES), _ZIP_END_BYTES, of=size)
    if not end.startswith(_ZIP_END):
        raise _Broken(f"{path} is cut off")


def _json(folder: Folder, path: str, size: int) -> dict[str, object]:
    if size > _MAX_JSON_BYTES:
        raise _Broken(f"{path} is too large to be read ({size} bytes)")
    try:
        # Not msgspec: a loss that was NaN stands there as the bare word.
        found = json.loads(_read(folder, path, 0, size, of=size))
    except (ValueError, RecursionError) as error:
        raise _Broken(f"{path} is cut off or no JSON") from error
    if not isinstance(found, dict):
        raise _Broken(f"{path} is no JSON object")
    return found


def _read(folder: Folder, path: str, start: int, size: int, *, of: int) -> bytes:
    """Read exactly that many bytes of a file that has `of` of them."""
    if start + size > of:
        raise _Broken(f"{path} is cut off at {of} bytes")
    found = folder.read(path, start, size)
    if len(found) < size:
        raise _Broken(f"{path} cannot be read")
    return found
