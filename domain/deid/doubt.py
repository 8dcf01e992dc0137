"""Which lines of JSON need to be read at all: most of a clean data set do not, and reading is what costs.

A line as it is written, its escapes undone, holds every text of it, whole, and the names of its fields. So where nothing in it even looks
like the beginning of a find, there is none. What cannot be told so is read.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec

from domain.deid.find import Scanner
from domain.deid.leaves import DEEPEST

_ESCAPE = re.compile(rb'\\(["\\/nrt])')
_BACKSLASH = b"\x01"
"""Stands for one that was escaped, until all others are undone; JSON has no such byte."""
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"{[\0")
_MEANT = {b'"': b'"', b"\\": _BACKSLASH, b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_decode = msgspec.json.Decoder(msgspec.Raw).decode


def doubtful(scanner: Scanner, lines: Sequence[bytes]) -> Sequence[int]:
    """Return the places of those lines that must be read, in order: something may be in them, or they are no JSON."""
    written = b"\0".join((b"", *lines, b""))
    plain = _ESCAPE.sub(_meant, written)
    ends = scanner.ends(plain.replace(_BACKSLASH, b"\\"))
    if ends is None:
        return range(len(lines))
    found = set[int]()
    if ends or b"\\" in plain:
        pieces = plain.split(b"\0")
        if len(pieces) != len(lines) + 2:
            return _beside_those_with_nul(scanner, lines)
        starts = list(accumulate((len(piece) + 1 for piece in pieces), initial=0))[1:]
        found = {bisect_right(starts, end - 1) - 1 for end in ends} | {place for place, piece in enumerate(pieces[1:-1]) if b"\\" in piece}
    return sorted(found.union(_unsound(lines, written)))


def _beside_those_with_nul(scanner: Scanner, lines: Sequence[bytes]) -> Sequence[int]:
    """NUL parts the lines here, and none is in JSON."""
    bad = {place for place, line in enumerate(lines) if b"\0" in line}
    return sorted(bad.union(doubtful(scanner, [b"" if place in bad else line for place, line in enumerate(lines)])))


def _meant(escape: re.Match[bytes]) -> bytes:
    return _MEANT[escape[1]]


def _unsound(lines: Sequence[bytes], written: bytes) -> Iterable[int]:
    """Return the places of those that are no JSON or nested too deep. All are tried at once, since hardly ever one is."""
    brackets = written.translate(None, _NO_BRACKET).split(b"\0")
    if max(map(len, brackets)) <= DEEPEST and _is_sound(written, lines):
        return ()
    return [place for place, line in enumerate(lines) if len(brackets[place + 1]) > DEEPEST or not _is_sound(line, (line,))]


def _is_sound(written: bytes, lines: Iterable[bytes]) -> bool:
    """Whether this is UTF-8, and the lines in it JSON; the decoder of raw values does not look at the encoding."""
    try:
        written.decode()
        for line in lines:
            if line:
                _decode(line)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True
