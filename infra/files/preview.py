"""A look into a data file: its first lines, some at random, or those of given numbers; in little memory, however long a line is."""

from collections.abc import Collection, Iterator
from io import BufferedReader
from itertools import islice
from math import exp, floor, log
from random import Random

from msgspec import Struct

LONGEST_SHOWN = 16 * 1024
"""Bytes of a line that are shown."""
LOOKED_THROUGH = 256 * 2**20
"""Unpacked bytes that a look goes through at most: a second or two."""
BATCH = 2**20


class Line(Struct, frozen=True):
    """One line that is not blank."""

    number: int
    """From 1."""
    text: str
    """What is no UTF-8 in it is shown as �."""
    cut: bool
    """Whether only its beginning is shown."""


class Look(Struct, frozen=True):
    """What was seen."""

    lines: list[Line]
    whole: bool
    """False where the file is so long that only its beginning was looked through."""


class Reader:
    """Reads a file line by line, as far as a look goes."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._read = 0
        self.whole = True

    def lines(self) -> Iterator[Line]:
        """Give each line that is not blank."""
        number = 0
        while line := self._file.readline(LONGEST_SHOWN):
            number += 1
            size = len(line) if line.endswith(b"\n") else len(line) + self._pass_over()
            self._read += size
            if line.strip():
                yield Line(number, line.rstrip(b"\r\n").decode(errors="replace"), size > LONGEST_SHOWN)
            if self._read > LOOKED_THROUGH:
                self.whole = not self._file.peek(1)
                return

    def _pass_over(self) -> int:
        """Skip the rest of a line; its bytes."""
        size = 0
        while rest := self._file.readline(BATCH):
            size += len(rest)
            if rest.endswith(b"\n") or self._read + size > LOOKED_THROUGH:
                break
        return size


def first(file: BufferedReader, count: int) -> Look:
    """Return the first lines. Blocks, as all of these; Invalid as reading a packed file is."""
    return Look(list(islice(Reader(file).lines(), count)), whole=True)


def numbered(file: BufferedReader, numbers: Collection[int]) -> Look:
    """Return the lines of these numbers."""
    reader, last = Reader(file), max(numbers, default=0)
    found = []
    for line in reader.lines() if numbers else ():
        if line.number in numbers:
            found.append(line)
        if line.number >= last:
            return Look(found, whole=True)
    return Look(found, reader.whole)


def some(file: BufferedReader, count: int, chance: Random) -> Look:
    """Return that many lines at random, each as likely as any other, in their order (reservoir sampling, Li's algorithm L)."""
    reader = Reader(file)
    lines = reader.lines()
    kept = list(islice(lines, count))
    weight = exp(log(1 - chance.random()) / count)
    while len(kept) == count:
        skipped = floor(log(1 - chance.random()) / log(1 - weight))
        line = next(islice(lines, skipped, None), None)
        if line is None:
            break
        kept[chance.randrange(count)] = line
        weight *= exp(log(1 - chance.random()) / count)
    return Look(sorted(kept, key=lambda line: line.number), reader.whole)
