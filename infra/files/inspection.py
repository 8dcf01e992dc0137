"""A data file judged line by line, in constant memory: what is plain goes fast, many lines at once; what is not is looked at carefully.

`python -m infra.files.inspection ROOT PATH RATIO TASK_TYPE LIMIT_BYTES` prints the report, at low priority.
"""

import gc
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from domain.errors import Invalid
from domain.training.line import CONTROL, KIND, judge_line, judge_text, task_type_of_sample, undecodable
from domain.training.problem import Problem
from domain.training.report import Report
from domain.training.rule import Rule
from domain.training.sample import MOST_EXTRAS
from domain.training.task_type import TaskType, task_type_of
from infra.files.reading import open_data
from infra.files.tally import Tally

BLOCK = 2**17
"""Bytes that are judged together: they fit into a core's cache, which is faster than any larger piece."""
LONGEST_LINE = 8 * 2**20
"""Bytes; a longer line is passed over without being held."""
LEARNED = 20
"""First lines whose further fields the fast way learns."""
FORMATS = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"ARROW1": "Arrow",
    b"\x93NUMPY": "NumPy",
}
BOM = b"\xef\xbb\xbf"

_ESCAPED = re.compile(rb"\\(?:[bf]|u00[0189]|u007[fF]|u003[aA])")
"""What may stand for a control character, and the escaped colon, which would upset the counting of keys."""
_HIGH_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def inspect(file: IO[bytes], name: str, task: TaskType | None, *, limit: int | None = None) -> Report:
    """Judge a file; `task` is guessed from its first line where it is None. Beyond `limit` bytes the rest is left alone."""
    began = time.monotonic()
    source = _Source(file, limit)
    beginning = source.peek()
    if task is None:
        task = _guess(beginning, name)
    judge = (_Texts if task is TaskType.pretrain and _is_text(name) else _Samples)(task)
    if (problem := _no_lines(beginning)) is not None:
        judge.tally.note(1 if problem.rule is Rule.one_array else None, [problem])
    else:
        _run(source, judge)
    return judge.tally.report(task, read=source.read, lines=judge.line, complete=source.complete, seconds=time.monotonic() - began)


def guess(file: IO[bytes], name: str) -> TaskType:
    """Tell from the first samples what a file is for; `sft` where they do not tell."""
    return _guess(_Source(file, None).peek(), name)


def _run(source: "_Source", judge: "_Judge") -> None:
    try:
        for block in source.blocks():
            if isinstance(block, int):
                judge.line += 1
                judge.too_long(block, judge.line)
            else:
                judge.block(block)
    except Invalid as refusal:
        judge.tally.note(judge.line, [Problem(rule=Rule.cut_off, facts={"reason": refusal.detail.rstrip(".")})])
    if not judge.tally.samples:
        judge.tally.note(None, [Problem(rule=Rule.empty_file)])


class _Source:
    """The file in blocks of whole lines; a line that is too long comes as its length alone."""

    def __init__(self, file: IO[bytes], limit: int | None) -> None:
        self._file = file
        self._limit = limit
        self._ahead = b""
        self.read = 0
        self.complete = True

    def peek(self) -> bytes:
        """Return the beginning, which is read again later."""
        try:
            self._ahead = self._file.read(BLOCK)
        except Invalid:
            self._ahead = b""  # said when it is read in earnest
        return self._ahead

    def blocks(self) -> Iterator[bytes | int]:
        """Give every line."""
        parts, held = list[bytes](), 0
        while piece := self._next():
            end = piece.rfind(b"\n") + 1
            if end and held > LONGEST_LINE:
                first = piece.index(b"\n")
                yield held + first
                if first + 1 < end:
                    yield piece[first + 1 : end]
                parts, held = [], 0
            elif end:
                yield b"".join([*parts, piece[:end]])
                parts, held = [], 0
            held += len(piece) - end
            if held <= LONGEST_LINE:
                parts.append(piece[end:])
            else:
                parts = []
        if held:
            yield held if held > LONGEST_LINE else b"".join(parts)

    def _next(self) -> bytes:
        if self._limit is not None and self.read >= self._limit:
            self.complete = not (self._ahead or self._file.read(1))
            return b""
        piece, self._ahead = self._ahead or self._file.read(BLOCK), b""
        self.read += len(piece)
        return piece


class _Judge:
    """Judges blocks of lines; how, its two kinds say."""

    def __init__(self, task: TaskType) -> None:
        self.task = task
        self.tally = Tally()
        self.line = 0
        """Lines seen so far."""

    def too_long(self, size: int, number: int) -> None:
        """Note a line that was passed over."""
        facts = {"bytes": f"{size:,}", "limit": f"{LONGEST_LINE:,}"}
        self.tally.broke(number, [Problem(rule=Rule.line_too_long, facts=facts)])

    def block(self, block: bytes) -> None:
        """Judge whole lines."""
        if not self.line and block.startswith(BOM):
            self.tally.note(1, [Problem(rule=Rule.bom)])
            block = block[len(BOM) :]
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        first, self.line = self.line + 1, self.line + len(lines)
        if b"\r" in block:
            for index, line in enumerate(lines):
                if line.endswith(b"\r"):
                    lines[index] = line[:-1]
                    self.tally.note(first + index, [Problem(rule=Rule.crlf)])
        self.lines(block, lines, first)

    def lines(self, block: bytes, lines: list[bytes], first: int) -> None:
        """Judge the lines of a block; `first` is the number of its first."""
        raise NotImplementedError


class _Samples(_Judge):
    """Lines of JSON."""

    def __init__(self, task: TaskType) -> None:
        super().__init__(task)
        self._kind = KIND[task]
        self._extras: tuple[str, ...] = ()
        self._decode: Callable[[bytes], Any] | None = None

    def lines(self, block: bytes, lines: list[bytes], first: int) -> None:
        """Judge them fast, and those that are not plain carefully."""
        decode = self._decode or self._learn(lines)
        odd = set[int]()
        at: Sequence[int] = range(len(lines))
        try:
            records = [decode(line) for line in lines]
        except _REFUSALS:
            records, at = _readable(decode, lines)
            odd.update(set(range(len(lines))) - set(at))
        if len(block) > LONGEST_LINE:
            odd.update(index for index, line in enumerate(lines) if len(line) > LONGEST_LINE)
        if _suspicious(block):
            odd.update(index for index, line in enumerate(lines) if _suspicious(line))
        sifted = self._kind.sift(records, self._extras)
        odd.update(at[index] for index in sifted.odd)
        if odd or block.count(b":") != sifted.colons:
            odd.update(place for place, record in zip(at, records, strict=True) if lines[place].count(b":") != self._colons(record))
        if odd:
            sound = [(index, place) for index, place in enumerate(at) if place not in odd]
            self.tally.take(
                [first + place for _, place in sound],
                [sifted.texts[index] for index, _ in sound],
                [sifted.turns[index] for index, _ in sound],
            )
        else:
            self.tally.take(range(first, first + len(lines)), sifted.texts, sifted.turns)
        for index, marks in sifted.marks:
            if at[index] not in odd:
                self.tally.agree(first + at[index], marks)
        for place in sorted(odd):
            self._carefully(lines[place], first + place)

    def _colons(self, record: Any) -> int:  # noqa: ANN401 - of the learned type
        return self._kind.sift([record], self._extras).colons

    def _learn(self, lines: Sequence[bytes]) -> Callable[[bytes], Any]:
        """Learn the further fields that the first lines bear."""
        own = {field.name for field in msgspec.structs.fields(self._kind.line_type(()))}
        found = dict[str, None]()
        for line in lines[:LEARNED]:
            try:
                record = msgspec.json.decode(line)
            except _REFUSALS:
                continue
            if isinstance(record, dict):
                found |= dict.fromkeys(name for name in record if name not in own)
        self._extras = tuple(found) if len(found) <= MOST_EXTRAS else ()
        self._decode = msgspec.json.Decoder(self._kind.line_type(self._extras)).decode
        return self._decode

    def _carefully(self, line: bytes, number: int) -> None:
        if not line.strip():
            self.tally.note(number, [Problem(rule=Rule.blank_line)])
            return
        if len(line) > LONGEST_LINE:
            self.too_long(len(line), number)
            return
        judged = judge_line(line, self.task)
        if judged.facts is None:
            self.tally.broke(number, judged.problems)
        else:
            self.tally.note(number, judged.problems)
            self.tally.take_one(number, judged.facts)


class _Texts(_Judge):
    """Lines that are documents as they stand; blank ones only part them."""

    def lines(self, block: bytes, lines: list[bytes], first: int) -> None:
        """Judge them together where all are clean."""
        try:
            texts = [line.decode() for line in lines]
        except UnicodeDecodeError:
            texts = []
        if not texts or len(block) > LONGEST_LINE or CONTROL.search(block.decode()):
            for index, line in enumerate(lines):
                self._carefully(line, first + index)
            return
        full = [index for index, text in enumerate(texts) if text and not text.isspace()]
        self.tally.take([first + index for index in full], [texts[index] for index in full], [1] * len(full))

    def _carefully(self, line: bytes, number: int) -> None:
        if len(line) > LONGEST_LINE:
            self.too_long(len(line), number)
            return
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.tally.broke(number, [undecodable(line)])
            return
        if not text.strip():
            return
        judged = judge_text(text, self.task)
        if judged.facts is None:
            self.tally.broke(number, judged.problems)
        else:
            self.tally.take_one(number, judged.facts)


def _readable(decode: Callable[[bytes], Any], lines: Sequence[bytes]) -> tuple[list[Any], list[int]]:
    """Return what the fast way can read of some lines, and which those are."""
    records, at = [], []
    for index, line in enumerate(lines):
        try:
            records.append(decode(line))
        except _REFUSALS:
            continue
        at.append(index)
    return records, at


def _suspicious(part: bytes) -> bool:
    """Whether control characters may be in it. Three searches that each begin with one byte are many times faster than one for all."""
    return bool(_ESCAPED.search(part) or b"\x7f" in part or (b"\xc2" in part and _HIGH_CONTROL.search(part)))


def _no_lines(beginning: bytes) -> Problem | None:
    """Say why a file is nothing with a sample per line."""
    form = next((form for magic, form in FORMATS.items() if beginning.startswith(magic)), None)
    if form:
        return Problem(rule=Rule.not_text, facts={"format": form})
    first = beginning.removeprefix(BOM).lstrip().partition(b"\n")[0].rstrip()
    if first in (b"[", b"{") or (first.startswith(b"[") and b"{" in first[:3]):
        return Problem(rule=Rule.one_array)
    return None


def _is_text(name: str) -> bool:
    return ".txt" in PurePosixPath(name.lower()).suffixes[-2:]


def _guess(beginning: bytes, name: str) -> TaskType:
    if _is_text(name):
        return TaskType.pretrain
    for line in beginning.removeprefix(BOM).splitlines()[:LEARNED]:
        try:
            found = task_type_of_sample(msgspec.json.decode(line))
        except _REFUSALS:
            continue
        if found:
            return found
    return TaskType.sft


def main(root: str, path: str, ratio: str, task: str, limit: str) -> None:
    """Judge one file below `root`."""
    os.nice(10)
    gc.disable()  # nothing here makes cycles, and looking for them costs a tenth of the time
    with open_data(Path(root), path, ratio=int(ratio)) as file:
        report = inspect(file, path, task_type_of(task), limit=int(limit) if limit else None)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
