"""Finding: every value that a set of rules knows, in many texts at once, overlaps resolved.

The texts are looked at as one, joined by NUL, which no rule crosses. A scanner says where each rule is worth trying; there the rule's own
pattern and judgement decide, on folded text. So a fast scanner and none at all find the same.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from msgspec import Struct

from domain.deid import seals, words
from domain.deid.entities import ENTITIES
from domain.deid.rule import Found, Rule
from domain.deid.text import HANZI_DIGITS, digits, fold

BEHIND = 56
"""Characters before a region that its rule may look back at."""
BLOCK = 32_768
"""Rules that reach far read the text in blocks of so many characters, so that none is folded again and again."""

TAKEN = "\ufffc"
"""Stands where a value was found, while one that was glued to it is sought: it is a boundary to every rule."""
MOST_ROUNDS = 4

Region = tuple[int, int]

_KNOWN = "|".join(ENTITIES)
_REPLACED = re.compile(
    rf"<[^<>\n]{{1,40}}>|{TAKEN}+|(?:{_KNOWN})\((?:fpe-)?[0-9]{{2,4}}\):[A-Z2-7]*"
    rf"|[A-Z][A-Z0-9_]{{1,39}}\([0-9]{{2,4}}\):[A-Z2-7]{{{seals.SHORTEST_TOKEN},}}"
)
"""What stands before a value where another was: no word in it speaks, and it is one value of a list like the one it was."""
_SEAL = re.compile(rf"(?<![0-9A-Za-z_]){seals.MARK}")
"""What marks a value as sealed by us, if what follows is such: neither it nor the mark is found again."""
_SEALED = re.compile(r"[A-Z2-7]+")
IN_SIGHT = 64
"""Characters of a sealed value that are looked at: every rule sees as many."""


class Span(Struct, frozen=True, kw_only=True):
    """A value found: code points of its text, end exclusive."""

    type: str
    start: int
    end: int
    score: float
    rule: str
    core: tuple[int, int]
    """Where the value itself lies, when the span also covers what overlapped it."""


class Scanner(Protocol):
    """Says where rules are worth trying."""

    def regions(self, text: str) -> Mapping[int, Iterable[Region]]:
        """Give, by a rule's place among the rules this was made for, the places where matches of it may begin, in order, disjoint."""
        ...

    def ends(self, written: bytes) -> Sequence[int] | None:
        """Give, for JSON as it is written, in bytes, where matches of any rule, or names of fields that speak for one, may end.

        None where it cannot tell.
        """
        ...


class Everywhere:
    """The scanner that knows nothing: every rule is tried on all of the text. Slower, and right by construction."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = range(len(rules))

    def regions(self, text: str) -> Mapping[int, Iterable[Region]]:
        """Give the whole text for every rule."""
        return {place: [(0, len(text))] for place in self._rules}

    def ends(self, written: bytes) -> None:
        """Not tell."""


class Detectors(Struct, frozen=True):
    """Rules and the scanner made for them."""

    rules: tuple[Rule, ...]
    scanner: Scanner


class _Candidate(Struct):
    start: int
    end: int
    rank: int
    score: float
    rule: int
    core: tuple[int, int]


def find(
    detectors: Detectors, texts: Sequence[str], keys: Sequence[str] | None, wanted: frozenset[int], own: tuple[Rule, ...] = ()
) -> list[list[Span]]:
    """Return the spans of each text in order, of those rules that are wanted (by their places; the policy's own come last).

    `keys` name the JSON field that each text is the value of, "" where it is of none.
    """
    found: list[list[Span]] = [[] for _ in texts]
    for index, spans in find_in(detectors, texts, keys, wanted, own):
        found[index] = spans
    return found


def find_in(
    detectors: Detectors, texts: Sequence[str], keys: Sequence[str] | None, wanted: frozenset[int], own: tuple[Rule, ...] = ()
) -> list[tuple[int, list[Span]]]:
    """Return, in order, the places of the texts in which something is, with the spans."""
    rules = (*detectors.rules, *own)
    found = _found(detectors, rules, texts, keys, wanted)
    glued = [index for index, spans in found.items() if any(_is_glued(texts[index], span) for span in spans)]
    for _ in range(MOST_ROUNDS):
        if not glued:
            break
        rest = [_without(texts[index], found[index]) for index in glued]
        more = _found(detectors, rules, rest, [keys[index] for index in glued] if keys is not None else None, wanted)
        for place, spans in more.items():
            index = glued[place]
            found[index] = sorted([*found[index], *spans], key=_start)
        glued = [glued[place] for place in more]
    return sorted(found.items())


_GLUE = re.compile(f"[0-9A-Za-z{''.join(HANZI_DIGITS)}+._@:/#-]")


def _is_glued(text: str, span: Span) -> bool:
    """Whether something stands right beside a value that may itself be one, once the value is gone."""
    return _GLUE.match(text, span.end) is not None or (span.start > 0 and _GLUE.match(text, span.start - 1) is not None)


def _without(text: str, spans: list[Span]) -> str:
    pieces, at = [], 0
    for span in spans:
        pieces += [text[at : span.start], TAKEN * (span.end - span.start)]
        at = span.end
    return "".join([*pieces, text[at:]])


def _start(span: Span) -> int:
    return span.start


def _found(
    detectors: Detectors, rules: Sequence[Rule], texts: Sequence[str], keys: Sequence[str] | None, wanted: frozenset[int]
) -> dict[int, list[Span]]:
    whole = _Whole(texts, keys)
    regions: dict[int, Iterable[Region]] = {place: [(0, len(whole.text))] for place in range(len(detectors.rules), len(rules))}
    candidates = [
        candidate
        for place, places in (regions | dict(detectors.scanner.regions(whole.text))).items()
        if place in wanted
        for candidate in _searched(whole, place, rules[place], places)
    ]
    if keys is not None:
        candidates += _named_values(rules, whole, texts, keys, wanted)
    found: dict[int, list[Span]] = {}
    for each in _settled(candidates):
        index = whole.index_at(each.start)
        base, rule = whole.starts[index], rules[each.rule]
        core = each.core[0] - base, each.core[1] - base
        span = Span(type=rule.type, start=each.start - base, end=each.end - base, score=each.score, rule=rule.id, core=core)
        found.setdefault(index, []).append(span)
    return found


class _Whole:
    """All texts as one, and what is around a place in it."""

    def __init__(self, texts: Sequence[str], keys: Sequence[str] | None) -> None:
        self.text = "\0".join(("", *texts, ""))
        self.starts = list(accumulate((len(each) + 1 for each in texts), initial=1))
        self._keys = keys
        self._block: tuple[int, int, str] = (-1, -1, "")

    def index_at(self, position: int) -> int:
        return bisect_right(self.starts, position) - 1

    def key_at(self, position: int) -> str:
        key = self._keys[min(self.index_at(position), len(self._keys) - 1)] if self._keys else ""
        return f"{key}: " if key else ""

    def window(self, start: int, end: int, reach: int) -> "_Window":
        """Give what a rule needs to see of a region, folded."""
        if end - start + reach < BLOCK // 8:
            base = max(0, start - BEHIND)
            return _Window(self, base, fold(self.text[base : end + reach]))
        base, until, text = self._block
        if not (base <= max(0, start - BEHIND) and min(end + reach, len(self.text)) <= until):
            base, until = max(0, start - BEHIND), max(start + BLOCK, end) + reach
            text = fold(self.text[base:until])
            self._block = base, min(until, len(self.text)), text
        return _Window(self, base, text)


class _Window:
    """A piece of the folded whole; `rule.Around` of the matches in it."""

    def __init__(self, whole: _Whole, base: int, text: str) -> None:
        self._whole = whole
        self.base = base
        self.text = text

    def before(self, position: int) -> str:
        near = self.text[max(0, position - words.WINDOW) : position]
        cut = near.rfind("\0")
        if cut >= 0:
            near = self._whole.key_at(self.base + position) + near[cut + 1 :]
        return _REPLACED.sub("0", near) if ">" in near or TAKEN in near or "):" in near else near

    def after(self, position: int) -> str:
        near = self.text[position : position + words.AFTER]
        cut = near.find("\0")
        return near if cut < 0 else near[:cut]


def _searched(whole: _Whole, place: int, rule: Rule, regions: Iterable[Region]) -> Iterator[_Candidate]:
    done = 0
    for start, end in regions:
        window = whole.window(start, end, rule.reach)
        base = window.base
        for found in _matches(rule, window, max(start, done) - base, end - base):
            begin, done = base + found.start, base + found.end
            yield _Candidate(begin, done, found.rank, found.score, place, (begin, done))


def _matches(rule: Rule, window: _Window, position: int, end: int) -> list[Found]:
    search, judge, text = rule.pattern.search, rule.judge, window.text
    matches = []
    while position < end and (match := search(text, position)) is not None and (start := match.start()) < end:
        found = judge(match, window)
        if found is None or _is_sealed(text, found.start):
            position = start + 1
        else:
            matches.append(found)
            position = max(found.end, start + 1)
    return matches


def _is_sealed(text: str, start: int) -> bool:
    """Whether a value begins with a seal of ours, or in what one seals."""
    if text[start].isupper() and (mark := _SEAL.match(text, start)) is not None:
        return _seals(mark, text) > start
    first = max(0, start - BEHIND)
    return text.find("):", first, start) >= 0 and any(_seals(mark, text) > start for mark in _SEAL.finditer(text, first, start))


def _seals(mark: re.Match[str], text: str) -> int:
    """Return where what a mark seals ends, as far as it is in sight; where the mark begins if it is none of ours."""
    begin, length = mark.end(), int(mark["length"])
    sealed = text[begin : begin + min(length, IN_SIGHT)]
    if mark["fpe"]:
        ours = mark["type"] in ENTITIES and len(sealed) == length and len(digits(sealed)) >= seals.FEWEST_DIGITS
    else:
        whole = len(sealed) == min(length, IN_SIGHT) or begin + len(sealed) == len(text)
        ours = length >= seals.SHORTEST_TOKEN and whole and _SEALED.fullmatch(sealed) is not None
    return begin + len(sealed) if ours else mark.start()


NAMED = 256
"""Characters of a text that the name of its JSON field may speak for."""


def _named_values(
    rules: Sequence[Rule], whole: _Whole, texts: Sequence[str], keys: Sequence[str], wanted: frozenset[int]
) -> Iterator[_Candidate]:
    """Find the values whose word is the name of the field that they are all of."""
    if not any(map(words.named_by, set(keys))):
        return
    for index, (text, key) in enumerate(zip(texts, keys, strict=True)):
        if not (key and (types := words.named_by(key))):
            continue
        named = f"\0{key}: {text[:NAMED]}\0"
        shift = len(key) + 3
        window = _Window(_Whole([named[1:-1]], None), 0, fold(named))
        for place in wanted:
            rule = rules[place]
            if rule.spoken and rule.type in types:
                for found in _matches(rule, window, 0, shift):
                    if found.start >= shift and (found.end < shift + NAMED or len(text) <= NAMED):
                        start, end = (whole.starts[index] - shift + each for each in (found.start, found.end))
                        yield _Candidate(start, end, found.rank, found.score, place, (start, end))


def _settled(candidates: list[_Candidate]) -> Iterator[_Candidate]:
    """Resolve overlaps: the best of those that touch names them all and covers them all, so that nothing of a loser stays in the clear."""
    candidates.sort(key=lambda each: each.start)
    best: _Candidate | None = None
    end = 0
    for each in candidates:
        if best is None or each.start >= end:
            if best is not None:
                best.end = end
                yield best
            best, end = each, each.end
        else:
            start = best.start
            best = max(best, each, key=_strength)
            best.start, end = start, max(end, each.end)
    if best is not None:
        best.end = end
        yield best


def _strength(candidate: _Candidate) -> tuple[int, int, int, int]:
    start, end = candidate.core
    return candidate.rank, end - start, -start, -candidate.rule
