"""Texts in, texts and spans out: the whole of de-identification as one function of its arguments."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from domain.deid.find import Detectors, Span, find_in
from domain.deid.operators import FROM_THE_VALUE, Cipher, Making, Numbers, replacement
from domain.deid.policy import CompiledPolicy
from domain.deid.text import fold

BOOST = 0.1


class Change(Struct, frozen=True, kw_only=True):
    """One value and what took its place: code points of the text as it was (`start`, `end`) and as it is (`out_…`)."""

    type: str
    start: int
    end: int
    out_start: int
    out_end: int
    operator: str
    score: float
    rule: str
    original: str
    replacement: str

    def __repr__(self) -> str:
        """Never show the original, wherever this may be printed."""
        return f"Change({self.type} {self.start}-{self.end} by {self.operator})"


class Cleaned(Struct, frozen=True, kw_only=True):
    """A text without what its policy seeks, and where that was."""

    text: str
    changes: list[Change]

    def __repr__(self) -> str:
        """Never show the text."""
        return f"Cleaned({len(self.text)} characters, {self.changes!r})"


def making(policy: CompiledPolicy, key: bytes, cipher: Cipher | None) -> Making:
    """Return what the operators of one request draw on."""
    return Making(key, policy.policy.language, cipher, {"text": Numbers(), "request": Numbers()})


def clean(
    detectors: Detectors, policy: CompiledPolicy, texts: Sequence[str], made: Making, keys: Sequence[str] | None = None
) -> list[Cleaned]:
    """De-identify texts, in order and as many as came.

    `keys` are the names of the JSON fields that the texts are the values of; "" where a text is of none.
    """
    done = [Cleaned(text=text, changes=[]) for text in texts]
    for index, cleaned in clean_those_that_need_it(detectors, policy, texts, made, keys):
        done[index] = cleaned
    return done


def clean_those_that_need_it(
    detectors: Detectors, policy: CompiledPolicy, texts: Sequence[str], made: Making, keys: Sequence[str] | None = None
) -> Iterator[tuple[int, Cleaned]]:
    """De-identify texts; give only those in which something was replaced, with their place, in order."""
    named = keys if policy.policy.json.key_hotwords else None
    for index, spans in find_in(detectors, texts, named, policy.wanted, policy.rules):
        cleaned = _cleaned(policy, texts[index], spans, made)
        if cleaned.changes:
            yield index, cleaned


def _cleaned(policy: CompiledPolicy, text: str, spans: list[Span], made: Making) -> Cleaned:
    made.numbers["text"] = Numbers()
    pieces, changes, at, out = [], [], 0, 0
    for span in spans:
        value = text[span.start : span.end]
        score = _score(policy, text, span)
        if score < policy.policy.defaults.min_score or _is_allowed(policy, value):
            continue
        operator = policy.operator(span.type)
        core = text[slice(*span.core)] if isinstance(operator, FROM_THE_VALUE) else value
        new = replacement(operator, span.type, core, made)
        out += span.start - at
        pieces += [text[at : span.start], new]
        changes.append(
            Change(
                type=span.type,
                start=span.start,
                end=span.end,
                out_start=out,
                out_end=out + len(new),
                operator=operator.__struct_config__.tag,  # type: ignore[arg-type] # a tagged struct's tag, here always a text
                score=score,
                rule=span.rule,
                original=value,
                replacement=new,
            )
        )
        at, out = span.end, out + len(new)
    return Cleaned(text="".join([*pieces, text[at:]]), changes=changes)


def _score(policy: CompiledPolicy, text: str, span: Span) -> float:
    """Return how sure a value is by this policy's own hot words."""
    words = policy.hotwords.get(span.type)
    if words is None:
        return span.score
    boost, veto, window = words
    before = text[max(0, span.start - window) : span.start]
    if veto is not None and veto.search(before):
        return 0.0
    return min(1.0, span.score + BOOST) if boost is not None and boost.search(before) else span.score


def _is_allowed(policy: CompiledPolicy, value: str) -> bool:
    return value in policy.allowed or any(pattern.search(fold(value)) for pattern in policy.allowed_patterns)
