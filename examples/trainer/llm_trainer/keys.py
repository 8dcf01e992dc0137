"""The YAML's values, read as what they are meant to be; what nobody asked for is remembered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml


class BadInput(Exception):
    """What was given cannot be trained on; the message says what, where, and what to do."""


class Failed(Exception):
    """The training could not go on, for a reason that is known."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Read the YAML file; BadInput names the line that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadInput(f"config {path}, line {line}: not valid YAML ({problem.problem})") from None
    except yaml.YAMLError as problem:
        raise BadInput(f"config {path} is not valid YAML: {' '.join(str(problem).split())}") from None
    except (OSError, ValueError) as problem:
        raise BadInput(f"config {path} cannot be read: {problem}") from None
    if not isinstance(content, dict):
        raise BadInput(f"config {path} must be a mapping of keys to values, such as task_type: sft")
    return {str(key): value for key, value in content.items()}


class Keys:
    """Takes values out of the YAML one by one; a key without a value is as good as absent."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self._taken: set[str] = set()

    @property
    def left(self) -> tuple[str, ...]:
        """The keys that nobody has asked for."""
        return tuple(sorted(self._values.keys() - self._taken))

    def has(self, key: str) -> bool:
        """Whether the key has a value."""
        return self._value(key) is not None

    def text(self, key: str) -> str:
        """A text, empty if it is not there."""
        value = self._value(key)
        return "" if value is None else str(value).strip()

    def one_of(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words, in lower case."""
        word = self.text(key).lower() or default
        if word not in known:
            raise BadInput(f"{key} must be one of {', '.join(known)}, not {self._value(key)!r}")
        return word

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false; YAML 1.2 has no yes, no, on and off."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise BadInput(f"{key} must be true or false, not {value!r}")

    def number(self, key: str, default: float, *, least: float = 0.0, most: float = math.inf) -> float:
        """A number from `least` to `most`."""
        if (value := self._value(key)) is None:
            return default
        number = _number(value)
        if not least <= number <= most:
            limit = f"a number of at least {least:g}" if math.isinf(most) else f"a number from {least:g} to {most:g}"
            raise BadInput(f"{key} must be {limit}, not {value!r}")
        return number

    def whole(self, key: str, default: int, *, least: int = 1) -> int:
        """A whole number of at least `least`."""
        if (value := self._value(key)) is None:
            return default
        number = _number(value)
        if not number >= least or not number.is_integer():
            raise BadInput(f"{key} must be a whole number of at least {least}, not {value!r}")
        return int(number)

    def steps(self, key: str, default: int) -> float:
        """A number of steps, or below one a share of all steps; 0 where it is not to be."""
        number = float(self.number(key, default))
        if number >= 1 and not number.is_integer():
            raise BadInput(f"{key} must be a whole number of steps, or a share of all below 1, not {self._value(key)!r}")
        return number

    def words(self, key: str) -> tuple[str, ...]:
        """Words, as a list or with commas between them; none if it is not there."""
        value = self._value(key)
        words = value.split(",") if isinstance(value, str) else value or []
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise BadInput(f"{key} must be a list of words, not {value!r}")
        return tuple(word.strip() for word in words)

    def _value(self, key: str) -> Any:  # noqa: ANN401 - YAML holds what it holds
        self._taken.add(key)
        return self._values.get(key)


def _number(value: object) -> float:
    """Return the value as a finite number, else NaN.

    YAML 1.1, which PyYAML speaks, takes 2e-5 for a string: it wants a dot and a sign, as in 2.0e-5.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
