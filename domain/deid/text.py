"""Text as the rules see it: full-width and exotic characters folded one for one, so that offsets never move."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

OffsetUnit = Literal["code_point", "utf16", "utf8"]

ZERO_WIDTH = "\u200b"
"""What every invisible character is folded to; a separator like another."""

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in "：，；！？＂＇"}
"""Punctuation stays as it is: a folded `：` would glue `IPv6：240e:` into one address, and the rest is in every Chinese sentence."""
_SPACES = dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_UNSEEN = dict.fromkeys([0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD], ZERO_WIDTH)
_DASHES = dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0xFE58, 0xFE63], "-")
FOLDING: dict[int, int | str] = {**_WIDE, **_SPACES, **_UNSEEN, **_DASHES}
_FOLDABLE = re.compile(f"[{re.escape(''.join(map(chr, FOLDING)))}]")
_PLAIN = {chr(code): chr(plain) if isinstance(plain, int) else plain for code, plain in FOLDING.items()}

_LETTER = re.compile(r"[0-9A-Za-z]")
_NO_DIGIT, _NO_LETTER = re.compile(r"[^0-9]"), re.compile(r"[^0-9A-Za-z]")

HANZI_DIGITS = {"〇": "0", "零": "0", "一": "1", "幺": "1", "二": "2", "两": "2", "三": "3", "四": "4", "五": "5", "六": "6", "七": "7"} | {
    "八": "8",
    "九": "9",
    "壹": "1",
    "贰": "2",
    "叁": "3",
    "肆": "4",
    "伍": "5",
    "陆": "6",
    "柒": "7",
    "捌": "8",
    "玖": "9",
}
"""Digits as they are read out; 幺 is the one of telephone numbers."""
_TO_DIGITS = str.maketrans(HANZI_DIGITS)


def fold(text: str) -> str:
    """Return the text with each full-width, invisible or exotic character replaced by its plain one; the length stays."""
    return text if text.isascii() else _FOLDABLE.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    return _PLAIN[match[0]]


def digits(text: str) -> str:
    """Return the digits of a value in any spelling, and nothing else."""
    if text.isascii():
        return text if text.isdigit() else _NO_DIGIT.sub("", text)
    return "".join(each for each in fold(text).translate(_TO_DIGITS) if "0" <= each <= "9")


def letters_and_digits(text: str) -> str:
    """Return the ASCII letters, upper case, and digits of a value in any spelling."""
    if text.isascii():
        return (text if text.isalnum() else _NO_LETTER.sub("", text)).upper()
    return "".join(each for each in fold(text).upper() if each.isascii() and each.isalnum())


def respell(original: str, characters: str) -> str:
    """Write other characters in the spelling of a value: its separators and its width stay.

    Each letter or digit of the original is replaced by the next of `characters`; what is over is dropped, what is missing stays out.
    """
    if original.isascii():
        if original.isalnum():
            return characters[: len(original)]
        plain = iter(characters)
        return _LETTER.sub(lambda _: next(plain, ""), original)
    following = iter(characters)
    chinese = next((style for style in _STYLES if any(each in style for each in original)), None)
    return "".join(_written_like(each, following, chinese) for each in original)


_STYLES = ("零幺二三四五六七八九", "〇一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖", "零一二三四五六七八九")
_MARKS = {"幺": 0, "〇": 1, **dict.fromkeys("壹贰叁肆伍陆柒捌玖", 2)}


def _written_like(each: str, following: Iterator[str], chinese: str | None) -> str:
    if each in HANZI_DIGITS:
        return chinese[int(digit)] if chinese and (digit := next(following, "")).isdigit() else ""
    plain = _PLAIN.get(each, each)
    if not (plain.isascii() and plain.isalnum()):
        return each
    new = next(following, "")
    return chr(ord(new) + 0xFEE0) if new and plain != each else new


def counter(text: str, unit: OffsetUnit) -> Callable[[int], int]:
    """Return what turns a code point offset of this text into one of `unit`; offsets must be asked for in ascending order."""
    if unit == "code_point" or text.isascii():
        return lambda offset: offset
    measure = _utf16 if unit == "utf16" else _utf8
    at, counted = 0, 0

    def count(offset: int) -> int:
        nonlocal at, counted
        counted += measure(text[at:offset])
        at = offset
        return counted

    return count


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _utf8(text: str) -> int:
    return len(text.encode())


def first_lone_surrogate(texts: Sequence[str]) -> int | None:
    """Return the index of the first text that holds half a surrogate pair, which no encoding can write."""
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            return index
    return None
