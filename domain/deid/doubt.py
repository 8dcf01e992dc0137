"""Which lines of JSON need to be read at all: most of a clean data set do not, and reading is what costs.

A line as it is written, its escapes undone, holds every text of it, whole, and the names of its fields. So where nothing in it even looks
like the beginning of a find, there is none. What cannot be told so is read.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from domain.deid.find import Scanner
from domain.deid.leaves import DEEPEST

_ESCAPE = re.compile(rb'\\(["\\/nrt])')
_BACKSLASH = b"\x01"
"""Stands for one that was escaped, until all others are undone; JSON has no such byte."""
_MEANT = {b'"': b'"', b"\\": _BACKSLASH, b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def doubtful(scanner: Scanner, lines: Sequence[bytes]) -> Sequence[int]:
    """Return the places of those lines that must be read, in order: something may be in them, or they are no JSON."""
    written = b"\0".join((b"", *lines, b""))
    plain = _unescaped(written)
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
    if not _is_utf8(written):
        found.update(place for place, line in enumerate(lines) if not _is_utf8(line))
    decode = msgspec.json.Decoder(msgspec.Raw).decode
    for place, line in enumerate(lines):
        if line and place not in found:
            try:
                decode(line)
            except (msgspec.DecodeError, RecursionError):
                found.add(place)
            if line.count(b"{") + line.count(b"[") > DEEPEST:
                found.add(place)
    return sorted(found)


def _beside_those_with_nul(scanner: Scanner, lines: Sequence[bytes]) -> Sequence[int]:
    """NUL parts the lines here, and none is in JSON."""
    bad = {place for place, line in enumerate(lines) if b"\0" in line}
    return sorted(bad.union(doubtful(scanner, [b"" if place in bad else line for place, line in enumerate(lines)])))


def _unescaped(written: bytes) -> bytes:
    """Undo the usual escapes; a backslash that is left is of one that is seldom, such as that of a code point."""
    if b"\\" not in written:
        return written
    if b"\\\\" not in written:
        plain = written.replace(b"\\n", b"\n")
        if b"\\" not in plain:
            return plain
    return _ESCAPE.sub(lambda match: _MEANT[match[1]], written)


def _is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True
