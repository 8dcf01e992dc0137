"""The fast scanner: one Hyperscan database of every rule's anchors, compiled once, read by any number of threads."""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

import hyperscan

from domain.deid.find import Region
from domain.deid.rule import Rule
from domain.deid.words import key_pattern

_CONTINUED = bytes(range(0x80, 0xC0))
"""Bytes that begin no character in UTF-8."""
_WIDE_DIGIT = rb"\xef\xbc[\x90-\x99]"
_WIDE = rb"(?:\xef\xbc[\x8b\x8d\x8e\x90-\x99\xa1-\xba]|\xef\xbd[\x81-\x9a])"
_ODD_GAP = rb"(?:\xc2[\xa0\xad]|\xe2\x80[\x80-\x8d\x90-\x95\xaf]|\xe2\x81[\x9f\xa0]|\xef\xbb\xbf|\xe3\x80\x80|\xef\xbc[\x8d\x8e]|\xe2\x88\x92|\xef\xb9[\x98\xa3])"
_FOLDED = (
    (_WIDE + rb"{2}", 112),
    (rb"[0-9A-Za-z)]" + _ODD_GAP + rb"{1,2}(?:[0-9(]|" + _WIDE_DIGIT + rb")", 112),
    (rb"[\x80-\xbf][A-Za-z]" + _ODD_GAP + rb"[0-9A-Za-z]", 112),
    (rb"[!-~]" + _WIDE + rb"|" + _WIDE + rb"[!-~]", 112),
)
"""Where folding changes what the rules see, all of them are tried."""

EVERY = -1
"""Stands for all rules among the places of anchors."""
NO_RULE = -2
"""Stands there for the name of a JSON field."""


class HyperscanScanner:
    """Finds the regions of all rules in one pass; about 250 MB/s of clean text on one core."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        anchors = [(anchor, place) for place, rule in enumerate(rules) for anchor in rule.anchors]
        keys = [pattern for type_ in {rule.type for rule in rules if rule.spoken} if (pattern := key_pattern(type_)) is not None]
        self._places = (
            [(place, anchor.back) for anchor, place in anchors] + [(EVERY, back) for _, back in _FOLDED] + [(NO_RULE, 0)] * len(keys)
        )
        expressions = [anchor.pattern for anchor, _ in anchors] + [pattern for pattern, _ in _FOLDED] + keys
        flags = [hyperscan.HS_FLAG_DOTALL | (hyperscan.HS_FLAG_CASELESS if anchor.caseless else 0) for anchor, _ in anchors]
        flags += [hyperscan.HS_FLAG_DOTALL] * len(_FOLDED) + [hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_CASELESS] * len(keys)
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(expressions=expressions, ids=list(range(len(expressions))), elements=len(expressions), flags=flags)
        self._own = threading.local()

    def regions(self, text: str) -> Mapping[int, Iterable[Region]]:
        """Scan the text once; where each rule is worth trying."""
        data = text.encode()
        hits = self._scan(data)
        found: dict[int, list[Region]] = {}
        ascii_only, counted, at = len(data) == len(text), 0, 0
        hits.sort()
        for end, number in hits:
            if ascii_only:
                counted = end
            elif end != at:
                counted += len(data[at:end].translate(None, _CONTINUED))
                at = end
            place, back = self._places[number]
            _add(found.setdefault(place, []), counted - back, counted + 1)
        found.pop(NO_RULE, None)
        for region in found.pop(EVERY, ()):
            for place in range(len(self._rules)):
                _insert(found.setdefault(place, []), region)
        return found

    def ends(self, written: bytes) -> Sequence[int]:
        """Scan JSON as it is written."""
        return [end for end, _ in self._scan(written)]

    def _scan(self, data: bytes) -> list[tuple[int, int]]:
        """Return where expressions end, and which, in any order."""
        hits: list[tuple[int, int]] = []
        append = hits.append
        self._database.scan(
            data, match_event_handler=lambda number, _from, end, _flags, _context: append((end, number)), scratch=self._scratch()
        )
        return hits

    def _scratch(self) -> hyperscan.Scratch:
        """Give the scratch of this thread: two scans may not share one."""
        scratch = getattr(self._own, "scratch", None)
        if scratch is None:
            scratch = self._own.scratch = hyperscan.Scratch(self._database)
        return scratch


def _add(regions: list[Region], start: int, end: int) -> None:
    if regions and start <= regions[-1][1]:
        if end > regions[-1][1] or start < regions[-1][0]:
            regions[-1] = (min(start, regions[-1][0]), max(end, regions[-1][1]))
    else:
        regions.append((max(0, start), end))


def _insert(regions: list[Region], region: Region) -> None:
    """Put a region among others, joined with those that it touches."""
    first = bisect_left(regions, region[0], key=lambda each: each[1])
    last = bisect_right(regions, region[1], key=lambda each: each[0])
    touched = regions[first:last]
    regions[first:last] = [(min([region[0], *(each[0] for each in touched)]), max([region[1], *(each[1] for each in touched)]))]
