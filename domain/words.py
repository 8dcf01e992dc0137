"""One code per value on the wire, and a label for it in each language.

A caller may send the code or any label (`发布` means `release`); an answer carries the code, and its label beside it.
"""

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A member is declared as `code = ("code", "中文", "English")`."""

    zh: str
    en: str

    def __new__(cls, code: str, zh: str, en: str) -> Self:
        """Make the member whose value is the ASCII code."""
        word = str.__new__(cls, code)
        word._value_ = code
        word.zh = zh
        word.en = en
        return word

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Find the member by one of its labels; msgspec asks here too."""
        return next((word for word in cls if value in (word.zh, word.en, word.en.lower())), None)

    def label(self, language: str) -> str:
        """Return the word a person reads: `zh` or `en`."""
        return self.en if language == "en" else self.zh
