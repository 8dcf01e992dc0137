"""Output as it is stored: chunks of lines, compressed, numbered from 0 without a gap, with times that never go back.

A chunk knows its first line, its line count, its byte range in the process's output and when its lines were seen; so any page,
any time window and the total are found by index, however long the log.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

CHUNK_BYTES = 64 * 1024
"""Text of a full chunk: small enough to rewrite while it is open, large enough to compress well."""
_FASTEST = 1
"""zlib level: a trainer may print 100,000 lines a second."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Mark(Struct, frozen=True, array_like=True):
    """From this line of the chunk on: when the lines were seen, and whose they are."""

    line: int
    """Index within the chunk."""
    at: int
    """Microseconds since the epoch."""
    level: str = ""
    """Level of a line of our own; empty for the process's output, whose level is read from its text."""


class LogChunk(Struct, frozen=True, kw_only=True):
    """Some consecutive lines of one owner's log."""

    owner_id: str
    first_line: int
    lines: int
    attempt: int
    first_byte: int
    """Where in the attempt's output the readings began that its lines came from; several chunks may share one."""
    end_byte: int
    """Where they ended."""
    first_at: int
    """When its first line was seen, microseconds since the epoch."""
    last_at: int
    text_bytes: int
    """Uncompressed size."""
    marks: list[Mark]
    data: bytes

    def texts(self) -> list[bytes]:
        """Every line, raw, without its newline."""
        return zlib.decompress(self.data).split(b"\n")

    def line_seen_at(self, at: int) -> int:
        """Number of the first of its lines seen at `at` or later; the number behind its last when none is."""
        return next((self.first_line + mark.line for mark in self.marks if mark.at >= at), self.first_line + self.lines)


class Line(Struct, frozen=True, kw_only=True):
    """One line as it is shown."""

    number: int
    at: datetime
    level: str
    """Empty when the text itself must tell."""
    text: bytes


class Written(Struct, frozen=True, kw_only=True):
    """Lines about to be stored: where their bytes stood in the output, and when they were seen."""

    lines: Sequence[bytes]
    at: datetime
    first_byte: int = 0
    end_byte: int = 0
    level: str = ""


def append(last: LogChunk | None, owner_id: str, attempt: int, written: Written) -> list[LogChunk]:
    """Return the chunks to write: the open one grown, and new ones behind it, none much over 64 KiB of text."""
    if not written.lines:
        return []
    at = max(micros(written.at), last.last_at if last else 0)
    number = last.first_line + last.lines if last else 0
    room = _room(last, attempt)
    chunks: list[LogChunk] = []
    for group in _groups(written.lines, room):
        if last is not None and room > 0 and not chunks:
            chunks.append(_grown(last, group, Mark(last.lines, at, written.level), written.end_byte))
        else:
            chunks.append(_fresh(owner_id, attempt, number, group, Mark(0, at, written.level), written))
        number += len(group)
    return chunks


def lines_of(chunks: Sequence[LogChunk], first: int, stop: int) -> list[Line]:
    """Return the lines `first` to `stop`, exclusive, as far as these chunks hold them."""
    found = []
    for chunk in chunks:
        begin, end = max(first - chunk.first_line, 0), min(stop - chunk.first_line, chunk.lines)
        starts = [mark.line for mark in chunk.marks]
        for index, text in enumerate(chunk.texts()[begin:end], begin):
            mark = chunk.marks[bisect_right(starts, index) - 1]
            found.append(Line(number=chunk.first_line + index, at=moment(mark.at), level=mark.level, text=text))
    return found


def micros(at: datetime) -> int:
    """Microseconds since the epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """The moment that `micros` counted."""
    return _EPOCH + timedelta(microseconds=at)


def _room(last: LogChunk | None, attempt: int) -> int:
    return CHUNK_BYTES - last.text_bytes if last is not None and last.attempt == attempt else 0


def _fresh(owner_id: str, attempt: int, number: int, lines: Sequence[bytes], mark: Mark, written: Written) -> LogChunk:
    text = b"\n".join(lines)
    return LogChunk(
        owner_id=owner_id,
        first_line=number,
        lines=len(lines),
        attempt=attempt,
        first_byte=written.first_byte,
        end_byte=written.end_byte,
        first_at=mark.at,
        last_at=mark.at,
        text_bytes=len(text),
        marks=[mark],
        data=zlib.compress(text, _FASTEST),
    )


def _grown(chunk: LogChunk, lines: Sequence[bytes], mark: Mark, end_byte: int) -> LogChunk:
    text = zlib.decompress(chunk.data) + b"\n" + b"\n".join(lines)
    newest = chunk.marks[-1]
    marks = chunk.marks if (newest.at, newest.level) == (mark.at, mark.level) else [*chunk.marks, mark]
    return replace(
        chunk,
        lines=chunk.lines + len(lines),
        end_byte=max(end_byte, chunk.end_byte),
        last_at=mark.at,
        text_bytes=len(text),
        marks=marks,
        data=zlib.compress(text, _FASTEST),
    )


def _groups(lines: Sequence[bytes], room: int) -> Iterator[Sequence[bytes]]:
    """Cut the lines into runs that fit: the first into what the open chunk has left (`room`), the others into whole chunks."""
    begin, size, limit = 0, 0, room if room > 0 else CHUNK_BYTES
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size >= limit:
            yield lines[begin : index + 1]
            begin, size, limit = index + 1, 0, CHUNK_BYTES
    if begin < len(lines):
        yield lines[begin:]
