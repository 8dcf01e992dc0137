"""A file of lines, rewritten chunk by chunk: several processes at once, in order, and whatever interrupts it costs the chunks under way.

What is done is written down behind every chunk, once its bytes are forced to disk; whoever comes next goes on there. So the output of a
job that was killed is byte for byte that of one that was not.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from infra.files.atomic import replace_file

CHUNK_BYTES = 4 * 1024 * 1024
"""Of the source, read at once: some tens of milliseconds of work, little to lose, and little to hold in memory."""
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; what goes on beyond them is no line that anybody trains on."""
AHEAD = 2
"""Chunks under way for each process, so that none waits for the disk."""
MOST_FIELDS = 200
"""Fields of a type that are counted one by one."""
OTHER_FIELDS = "…"
"""What stands for all others."""
MOST_NUMBERS = 1_000
"""Numbers of bad lines that are kept; their count goes on."""


class Chunk(Struct, frozen=True):
    """Whole lines of the source."""

    data: bytes
    size: int
    """Bytes of the source that it stands for: more than it has where a line was too long to be kept."""
    too_long: bool = False
    """Its one line is cut off: it counts as bad whatever it says."""


class Bad(Struct, frozen=True):
    """A line that cannot be read."""

    line: int
    """Its number in its chunk, from 0."""
    why: str
    data: bytes


class Piece(Struct, frozen=True, kw_only=True):
    """What became of one chunk."""

    data: bytes
    lines: int
    changed: int
    found: dict[str, dict[str, int]]
    """Type → field → how many."""
    bad: list[Bad] = []


class State(Struct, frozen=True, kw_only=True):
    """How far it is: all before these offsets is done and on the disk."""

    source: int = 0
    """Bytes of the source, as it reads once it is unpacked."""
    target: int = 0
    """Bytes of the output."""
    quarantine: int = 0
    """Bytes of the file of bad lines."""
    lines: int = 0
    changed: int = 0
    found: dict[str, dict[str, int]] = {}
    bad: int = 0
    bad_numbers: list[int] = []
    """The first of them, from 1."""

    def after(self, chunk: Chunk, piece: Piece, *, target: int, quarantine: int) -> "State":
        """Return the state behind one more chunk."""
        numbers = [self.lines + bad.line + 1 for bad in piece.bad]
        return State(
            source=self.source + chunk.size,
            target=target,
            quarantine=quarantine,
            lines=self.lines + piece.lines,
            changed=self.changed + piece.changed,
            found=_added(self.found, piece.found),
            bad=self.bad + len(numbers),
            bad_numbers=[*self.bad_numbers, *numbers][:MOST_NUMBERS],
        )


class Stopped(Exception):
    """Somebody asked it to stop; what was done until then is kept."""


class Rewriting:
    """One file on its way: `target` grows, beside it `<target>.state` and `<target>.bad`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._state_file = target.with_name(f"{target.name}.state")
        self.quarantine = target.with_name(f"{target.name}.bad")
        self.state = self._read_state()

    def run(self, source: BinaryIO, work: Callable[[Chunk], Piece], pool: Executor, processes: int, note: Callable[[State], None]) -> State:
        """Rewrite what is left of the source; `note` hears of every chunk and may raise Stopped. Blocks until all of it is on the disk."""
        with _opened(self.target, self.state.target) as target, _opened(self.quarantine, self.state.quarantine) as quarantine:
            skip(source, self.state.source)
            under_way = deque[tuple[Chunk, Future[Piece]]]()
            try:
                for chunk in chunks(source):
                    under_way.append((chunk, pool.submit(work, chunk)))
                    if len(under_way) > processes * AHEAD:
                        self._keep(*under_way.popleft(), target, quarantine, note)
                while under_way:
                    self._keep(*under_way.popleft(), target, quarantine, note)
            finally:
                for _, future in under_way:
                    future.cancel()
        return self.state

    def sha256(self) -> str:
        """Return the sum of the output, read once from the disk."""
        with self.target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _keep(self, chunk: Chunk, future: "Future[Piece]", target: BinaryIO, quarantine: BinaryIO, note: Callable[[State], None]) -> None:
        piece = future.result()
        target.write(piece.data)
        quarantine.writelines(_told(self.state.lines + bad.line + 1, bad) for bad in piece.bad)
        for file in (target, quarantine) if piece.bad else (target,):
            file.flush()
            os.fdatasync(file.fileno())
        self.state = self.state.after(chunk, piece, target=target.tell(), quarantine=quarantine.tell())
        replace_file(self._state_file, msgspec.json.encode(self.state))
        note(self.state)

    def _read_state(self) -> State:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()


def chunks(source: BinaryIO) -> Iterator[Chunk]:
    """Cut a stream into chunks of whole lines; a line that is too long is one chunk, of which only the beginning is kept.

    Where a chunk ends depends on where it begins and on nothing else, so whoever goes on behind one cuts as if never stopped: it has the
    lines that end within CHUNK_BYTES of its beginning, or within as many times that as its first line takes.
    """
    data = b""
    while True:
        more = source.read(CHUNK_BYTES - len(data) % CHUNK_BYTES)
        data += more
        end = data.rfind(b"\n") + 1
        if end:
            yield Chunk(data[:end], end)
            data = data[end:]
        elif len(data) > LONGEST_LINE:
            head, passed, data = _rest_of_line(source, data)
            yield Chunk(head, passed, too_long=True)
        elif not more:
            break
    if data:
        yield Chunk(data, len(data))


def skip(source: BinaryIO, size: int) -> None:
    """Pass over what is done already; a stream that is unpacked while it is read must be read again for that."""
    if source.seekable():
        source.seek(size)
        return
    while size > 0:
        passed = source.read(min(size, CHUNK_BYTES))
        if not passed:
            message = f"the source is {size} bytes shorter than what was done of it"
            raise ValueError(message)
        size -= len(passed)


def _told(number: int, bad: Bad) -> bytes:
    return msgspec.json.encode({"line": number, "why": bad.why, "data": bad.data}) + b"\n"


def _rest_of_line(source: BinaryIO, data: bytes) -> tuple[bytes, int, bytes]:
    """Read on to the end of a line that is too long: its beginning, how many bytes it has, and what was read behind it."""
    passed = len(data)
    while more := source.read(CHUNK_BYTES):
        end = more.find(b"\n") + 1
        if end:
            return data[:LONGEST_LINE], passed + end, more[end:]
        passed += len(more)
    return data[:LONGEST_LINE], passed, b""


def _opened(path: Path, size: int) -> BinaryIO:
    """Open a file that grows, without what a power cut left behind the last chunk that was written down."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def add_count(found: dict[str, dict[str, int]], kind: str, field: str, count: int) -> None:
    """Count what was found of a type in a field; of fields beyond MOST_FIELDS together, since data may name them by the thousand."""
    fields = found.setdefault(kind, {})
    if field not in fields and len(fields) >= MOST_FIELDS:
        field = OTHER_FIELDS
    fields[field] = fields.get(field, 0) + count


def _added(before: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    total = {kind: dict(fields) for kind, fields in before.items()}
    for kind, fields in more.items():
        for field, count in fields.items():
            add_count(total, kind, field, count)
    return total
