"""One chunk of a data file, de-identified in a process of the pool: JSON lines by their fields, other lines as they are."""

import gzip
import os
import signal
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import PurePath, PurePosixPath
from threading import Thread
from traceback import extract_tb

import zstandard

from domain.deid.lines import Line
from infra.deid.engine import Ready, Recipe
from infra.files.rewrite import LONGEST_LINE, Bad, Chunk, Piece, add_count

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
GZIP_LEVEL = 6
ZSTD_LEVEL = 3

_ready: list[Ready] = []
"""What this process of the pool works with."""


def open_recipe(recipe: Recipe) -> None:
    """Make ready what every chunk needs, once a process, which from now on ends with the one that it works for and not before.

    A stop is sent to all of a job's processes at once. One that died of it halfway through an answer would let the other wait for the rest.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _ready[:] = [recipe.ready()]


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def rewriter_of(name: str) -> Callable[[Chunk], Piece]:
    """Return what rewrites the chunks of a file of that name; it comes out packed as it came in."""
    path = PurePosixPath(name.lower())
    packing = path.suffix if path.suffix in _PACK else ""
    inner = path.with_suffix("") if packing else path
    return Rewriter(json=inner.suffix in JSON_ENDINGS, packing=packing)


class ChunkError(Exception):
    """A chunk could not be de-identified; the message has the kind of what was raised, and where."""


def _kind_and_place(problem: Exception) -> str:
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in extract_tb(problem.__traceback__)]
    return f"{type(problem).__name__} at {' > '.join(places)}"


class Rewriter:
    """Rewrites chunks; it can be sent to the processes of a pool."""

    def __init__(self, *, json: bool, packing: str) -> None:
        self._json = json
        self._packing = packing

    def __call__(self, chunk: Chunk) -> Piece:
        """De-identify one chunk: every line but those that cannot be read, which are given back as they were.

        ChunkError when it cannot: what went wrong, without the words of it, since they may hold what was to be hidden.
        """
        try:
            return self._rewritten(chunk)
        except Exception as problem:  # noqa: BLE001 - whatever it is, its text goes to no log
            raise ChunkError(_kind_and_place(problem)) from None

    def _rewritten(self, chunk: Chunk) -> Piece:
        if chunk.too_long:
            why = f"it has more than {LONGEST_LINE:,} bytes"
            return Piece(data=b"", lines=1, changed=0, found={}, bad=[Bad(0, why, chunk.data)])
        lines = chunk.data.split(b"\n")  # behind the last newline there is nothing, or the file's last line
        bodies = [line.removesuffix(b"\r") for line in lines] if b"\r" in chunk.data else [*lines]
        bad, found = dict[int, Bad](), dict[str, dict[str, int]]()
        touched = _ready[0].json_lines(bodies) if self._json else _ready[0].text_lines(bodies)
        for number, each in touched.items():
            if each.wrong is None:
                lines[number] = each.data + lines[number][len(bodies[number]) :]
                _count(found, each)
            else:
                bad[number] = Bad(number, each.wrong, lines[number])
        *whole, last = lines
        kept = [line for number, line in enumerate(whole) if number not in bad] if bad else whole
        data = b"\n".join([*kept, last if len(whole) not in bad else b""])
        return Piece(
            data=_PACK[self._packing](data) if data else b"",
            lines=len(whole) + (last != b""),
            changed=len(touched) - len(bad),
            found=found,
            bad=[*bad.values()],
        )


def _count(found: dict[str, dict[str, int]], line: Line) -> None:
    for (kind, field), count in line.counts.items():
        add_count(found, kind, field, count)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)  # without the time: the same chunk is the same bytes in every attempt


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


_PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": _gzip, ".zst": _zstd}
"""Pieces that stand one behind the other are one file, as for `zcat` and `zstdcat`."""
