"""Whether a pattern is linear: read from its parsed form, before anything is matched with it.

Refused is what makes a backtracking matcher slow on some text: a repetition without a bound, one inside another, two beside each other that
take the same characters, references back. What is left takes a bounded number of steps at each place of the text.
"""

import re
from re import _parser  # type: ignore[attr-defined] # the parser that `re` itself uses; sre_parse is its old, deprecated name
from typing import Any

MOST_STEPS = 20_000
"""Ways in which a pattern may be tried at one place: the product of its repetitions and branches."""


def why_not_linear(pattern: str, *, longest: int) -> str | None:
    """Return why a pattern is not accepted, or None; `longest` is how many characters a match may have."""
    try:
        re.compile(pattern)
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as wrong:
        return f"it is no regular expression ({wrong})"
    if reason := _flaw(parsed):
        return reason
    shortest, most = parsed.getwidth()
    if shortest == 0:
        return "it matches the empty text; let it require at least one character"
    if most > longest:
        return f"it may match {'without end' if most > 10**6 else f'{most} characters'}; at most {longest} are accepted"
    if (steps := _steps(parsed)) > MOST_STEPS:
        return f"it may be tried in {steps:,} ways at each place of a text; at most {MOST_STEPS:,} are accepted. Shorten its repetitions"
    return None


def _flaw(parsed: Any, repeated: bool = False) -> str | None:  # noqa: ANN401, FBT001, FBT002 - the parser's own lists
    for kind, value in parsed:
        name = str(kind)
        if name in {"GROUPREF", "GROUPREF_EXISTS"}:
            return "it refers back to a group, which no linear matcher can"
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            low, high, inner = value
            if int(high) > 10**6:
                return "it repeats without a bound (`*`, `+`, `{n,}`); write a bound, such as {1,64}"
            if repeated and low != high:
                return "it repeats what already repeats, such as (a{1,9}){1,9}; write it without one of the two"
            if reason := _flaw(inner, repeated or low != high):
                return reason
        for part in _parts(name, value):
            if reason := _flaw(part, repeated):
                return reason
    return None


def _parts(name: str, value: Any) -> list[Any]:  # noqa: ANN401 - the parser's own lists
    if name == "SUBPATTERN":
        return [value[3]]
    if name == "BRANCH":
        return list(value[1])
    if name in {"ASSERT", "ASSERT_NOT"}:
        return [value[1]]
    return [value] if name == "ATOMIC_GROUP" else []


def _steps(parsed: Any) -> int:  # noqa: ANN401 - as above
    steps = 1
    for kind, value in parsed:
        name = str(kind)
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            low, high, inner = value
            steps *= (int(high) - int(low) + 1) * min(_steps(inner) ** max(1, int(high)), MOST_STEPS + 1)
        elif name == "BRANCH":
            steps *= sum(_steps(each) for each in value[1])
        else:
            for part in _parts(name, value):
                steps *= _steps(part)
        if steps > MOST_STEPS:
            return steps
    return steps
