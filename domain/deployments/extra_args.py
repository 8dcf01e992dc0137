"""What a caller adds to the server's command: one string, split like a shell splits words, of which only listed flags pass.

vLLM's own parser is generous: it takes abbreviations, underscores, `-q`, dotted keys, a flag twice. Each of these is a way around a
list, so none is taken here: a flag is written in full, once, with its one value behind it or behind `=`.
"""

import shlex
from collections.abc import Iterator

from domain.deployments.flags import REFUSED, SWITCHES, VALUES
from domain.errors import Flaw, Invalid

LONGEST = 4096
"""Characters; a command line of that length is a mistake."""
_NO = "--no-"
_LIST = "`allowed` in this answer lists the flags that may be set"


def allowed() -> list[str]:
    """Every flag that may be set, as it is written."""
    return sorted(f"--{name}" for name in (*SWITCHES, *VALUES))


def words_of(text: str) -> list[str]:
    """Return the words to put behind the server's own; Invalid names every flag that may not be there, why, and what may."""
    try:
        words = shlex.split(text)
    except ValueError as wrong:
        raise _invalid([f"cannot be split into words ({wrong})"]) from None
    if len(text) > LONGEST or any(not word.isprintable() for word in words):
        raise _invalid([f"is longer than {LONGEST} characters, or holds control characters"])
    kept: list[str] = []
    flaws: list[str] = []
    seen: set[str] = set()
    for flag, value in _pairs(words):
        name = _name(flag)
        flaw = _flaw(flag, value) or (f"{flag} is given more than once" if name in seen else None)
        seen.add(name)
        if flaw:
            flaws.append(flaw)
        else:
            kept += [flag] if value is None else [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    if flaws:
        raise _invalid(flaws)
    return kept


def _invalid(flaws: list[str]) -> Invalid:
    message = f"extra_args: {'; '.join(flaws)}. {_LIST}"
    return Invalid(message, [Flaw("extra_args", flaw) for flaw in flaws], allowed=allowed())


def _pairs(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Give each flag with its value: behind `=`, or the next word where the flag is one that takes a value."""
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            yield word, None
        elif equals:
            yield flag, value
        elif flag.startswith("--") and flag[2:] in VALUES:
            yield flag, rest.pop() if rest else None
        else:
            yield flag, None
            while rest and _name(flag) not in SWITCHES and not rest[-1].startswith("-"):
                rest.pop()  # the values of a flag that is refused anyway: one flaw is enough


def _name(flag: str) -> str:
    """Return what a flag is about, so that one given twice, or on and off, is seen."""
    return flag.removeprefix(_NO) if flag.startswith(_NO) else flag.removeprefix("--")


def _flaw(flag: str, value: str | None) -> str | None:
    """Say what is wrong with a flag and its value, if anything is."""
    if not flag.startswith("-"):
        return f"{flag!r} stands alone: behind the model there are only flags (a list of values is none of those allowed)"
    name = _name(flag)
    if flag in (f"--{name}", f"{_NO}{name}") and name in SWITCHES:
        return None if value is None else f"{flag} is a switch and takes no value"
    if flag == f"--{name}" and (kind := VALUES.get(name)):
        if value is None:
            return f"{flag} lacks its value: {kind.wants('')}"
        wanted = kind.wants(value)
        return f"{flag} must be {wanted}, not {value!r}" if wanted else None
    return _why_not(flag)


def _why_not(flag: str) -> str:
    """Say why a flag is refused: its own reason, or that of the flag that vLLM would have taken it for."""
    if not flag.startswith("--"):
        return f"{flag} is a short form: write flags in full, with two dashes"
    meant = _name(flag).replace("_", "-").partition(".")[0].lower()
    if meant in REFUSED:
        return f"{flag} is refused: {REFUSED[meant]}"
    if meant in VALUES or meant in SWITCHES:
        return f"{flag} is no exact flag: write --{meant}"
    longer = [each for each in (*REFUSED, *VALUES, *SWITCHES) if meant and each.startswith(meant)]
    for each in longer:
        if each in REFUSED:
            return f"{flag} could be short for --{each}, which is refused: {REFUSED[each]}"
    if longer:
        return f"{flag} is an abbreviation: write --{longer[0]}"
    return f"{flag} is not on the list of flags that a deployment may set"
