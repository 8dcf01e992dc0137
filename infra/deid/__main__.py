"""De-identification of a file on this machine, for the command line.

    python -m infra.deid scan FILE POLICY
    python -m infra.deid apply FILE POLICY OUTPUT SEED        (SEED may be empty)

Prints `{"done": bytes, "of": bytes}` as it goes, and as the last line what was found: by type the count, and an example that is masked.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from domain.deid.entities import label
from domain.deid.lines import Line
from domain.errors import DomainError
from infra.deid.engine import Engine, Ready
from infra.settings import SettingsError, load

CHUNK_BYTES = 1024 * 1024
JSON_LINES = {".jsonl", ".ndjson", ".json"}
MOST_SHOWN = 10
"""Unreadable lines that are named one by one."""


class Found(Struct, kw_only=True):
    """What was found of one type."""

    type: str
    label_zh: str
    label_en: str
    count: int = 0
    example: str = ""
    """Its first character and stars; never the original."""


class Summary(Struct, kw_only=True):
    """What was found in a file."""

    policy: str
    revision: str
    security: str
    lines: int = 0
    lines_found: int = 0
    """Lines with at least one value in them."""
    unreadable: int = 0
    unreadable_lines: list[str] = []
    found: list[Found] = []
    output: str | None = None


class FileError(Exception):
    """The file cannot be cleaned; the message says where and why."""


def main(arguments: list[str]) -> int:
    """Do what the arguments say; 2, with one line on standard error, when it cannot be done."""
    try:
        verb, file, policy, *rest = arguments
        engine = Engine(load())
        if verb == "apply":
            output, seed = rest
            summary = _apply(Path(file), engine.ready(policy, int(seed) if seed else None), engine, Path(output))
        else:
            summary = _scan(Path(file), engine.ready(policy, 0), engine)
    except (SettingsError, FileError, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    except DomainError as problem:
        sys.stderr.write(f"{problem.detail}\n")
        return 2
    _say(summary)
    return 0


def _scan(file: Path, ready: Ready, engine: Engine) -> Summary:
    tally = _Tally(ready, engine)
    for _, touched in _cleaned(file, ready):
        tally.add(touched)
    return tally.summary()


def _apply(file: Path, ready: Ready, engine: Engine, output: Path) -> Summary:
    """Write the cleaned lines beside their place and move them there once all are; an unreadable line stops it."""
    tally = _Tally(ready, engine)
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("wb") as target:
            for line, touched in _cleaned(file, ready):
                tally.add(touched)
                if touched is not None:
                    _require_readable(file, tally.lines, touched)
                target.write(line if touched is None else touched.data + line[len(line.rstrip(b"\r\n")) :])
            target.flush()
            os.fsync(target.fileno())
        part.replace(output)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    summary = tally.summary()
    summary.output = str(output)
    return summary


def _require_readable(file: Path, number: int, line: Line) -> None:
    if line.wrong:
        message = f"line {number} of {file} cannot be read ({line.wrong}), so nothing was written"
        raise FileError(message)


class _Tally:
    """Counts what is found, line by line."""

    def __init__(self, ready: Ready, engine: Engine) -> None:
        self._summary = Summary(policy=ready.policy.id, revision=ready.policy.revision, security=engine.security)
        self._found: dict[str, Found] = {}

    @property
    def lines(self) -> int:
        return self._summary.lines

    def add(self, line: Line | None) -> None:
        self._summary.lines += 1
        if line is None:
            return
        self._summary.lines_found += bool(line.counts)
        if line.wrong:
            self._summary.unreadable += 1
            if self._summary.unreadable <= MOST_SHOWN:
                self._summary.unreadable_lines.append(f"line {self._summary.lines}: {line.wrong}")
        for (type_, _), count in line.counts.items():
            found = self._found.setdefault(type_, Found(type=type_, label_zh=label(type_, "zh"), label_en=label(type_, "en")))
            found.count += count
            found.example = found.example or line.examples.get(type_, "")

    def summary(self) -> Summary:
        self._summary.found = sorted(self._found.values(), key=lambda each: -each.count)
        return self._summary


def _cleaned(file: Path, ready: Ready) -> Iterator[tuple[bytes, Line | None]]:
    """Give each line and what became of it, None where it stays as it is; chunk by chunk."""
    work = ready.json_lines if file.suffix.lower() in JSON_LINES else ready.text_lines
    with file.open("rb") as source:
        size, done = os.fstat(source.fileno()).st_size, 0
        while chunk := _chunk(source):
            touched = work([line.rstrip(b"\r\n") for line in chunk], examples=True)
            for number, line in enumerate(chunk):
                yield line, touched.get(number)
                done += len(line)
            _say({"done": done, "of": size})


def _chunk(source: BinaryIO) -> list[bytes]:
    return source.readlines(CHUNK_BYTES)


def _say(value: Struct | dict[str, int]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


sys.exit(main(sys.argv[1:]))
