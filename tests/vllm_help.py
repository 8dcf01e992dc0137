"""Reads what `vllm serve --help=all` prints: each option's names, and the words it may be given where the help lists them."""

import re
from collections.abc import Iterable

_OPTION = re.compile(r"^  (-\S.*?)(?:  |$)")
_CHOICES = re.compile(r"[{\[]([^}\]]*,[^}\]]*)[}\]]")


def options(text: str) -> dict[str, list[str]]:
    """Return the choices of each long option; none where the help lists none."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if option := _OPTION.match(line):
            choices = _CHOICES.search(option[1])
            words = [each.strip(" '") for each in choices[1].split(",")] if choices else []
            found |= dict.fromkeys(re.findall(r"--[\w-]+", option[1]), words)
    return found


def written(found: dict[str, list[str]]) -> Iterable[str]:
    """Write options as the lines of `vllm-0.32-flags.txt`: a name, and its choices behind it."""
    return (" ".join([name, *choices]) for name, choices in sorted(found.items()))


def read(lines: Iterable[str]) -> dict[str, list[str]]:
    """Read such lines again."""
    return {words[0]: words[1:] for words in map(str.split, lines) if words}
