"""What one unquoted YAML word means, by the core schema of YAML 1.2, and how a value is written so that every reader agrees.

A trainer may well read our text with PyYAML, whose YAML 1.1 turns `no` into false, `1:30` into 90 and `2e-5` into a string.
"""

import json
import math
import re

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""What a database column and the usual JSON reader hold without loss."""

LONGEST_NUMBER = 64
"""Characters; longer digits are a mistake, and converting a megabyte of them takes minutes."""

_WORDS: dict[str, bool | float | None] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
    | {sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
    | dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)
)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

_UNQUOTED = re.compile(r"[^\W\d][\w./+@-]*(?: [\w./+@-]+)*|/[\w./+@-]*")
"""Texts that no YAML reader can take for punctuation; everything else is quoted."""
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is but YAML does not allow, folds, or hides."""
_WORDS_OF_1_1 = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""Words that mean something else than themselves to one reader or another."""


class Unreadable(ValueError):
    """A number that cannot be kept exactly; the text says why and what to do."""


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what an unquoted word means; Unreadable for a number out of range."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _float(text) if _FLOAT.fullmatch(text) else text


def written(value: str | float | bool | None) -> str:  # noqa: FBT001 - a value of the config, not a switch
    """Return the text of one value, quoted exactly where some YAML reader could take it for something else."""
    if isinstance(value, str):
        return value if _needs_no_quotes(value) else _quoted(value)
    if isinstance(value, float):
        return _float_text(value)
    return "null" if value is None else str(value).lower()


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text[2:] if base != 10 else text, base) if len(text) <= LONGEST_NUMBER else None  # noqa: PLR2004 - decimal
    if number is None or not INT_MIN <= number <= INT_MAX:
        raise Unreadable("an integer beyond 64 bits; put it in quotes if it is a text")
    return number


def _float(text: str) -> float:
    number = float(text) if len(text) <= LONGEST_NUMBER else math.inf
    if math.isinf(number):
        raise Unreadable("a number too large or too long for a float; write .inf for infinity, or put it in quotes if it is a text")
    return number


def _needs_no_quotes(text: str) -> bool:
    return bool(_UNQUOTED.fullmatch(text)) and text.lower() not in _WORDS_OF_1_1


def _quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _float_text(number: float) -> str:
    """YAML 1.1 knows a float only by its dot, so 2e-05 is written 2.0e-05."""
    if math.isinf(number):
        return ".inf" if number > 0 else "-.inf"
    if math.isnan(number):
        return ".nan"
    text = repr(number)
    return text if "." in text else text.replace("e", ".0e")
