"""A problem is one broken rule at one place, and reads as a sentence in either language."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from domain.training.rule import Rule

SHOWN = 60
"""Characters of a text that a message repeats: enough to find it again."""
KINDS: dict[Any, tuple[str, str]] = {
    str: ("文本", "text"),
    int: ("数字", "a number"),
    float: ("数字", "a number"),
    bool: ("布尔值", "a boolean"),
    list: ("列表", "a list"),
    dict: ("对象", "an object"),
    type(None): ("空值", "null"),
}


class Problem(Struct, frozen=True, kw_only=True):
    """Which rule, where, and what of the place the sentence tells."""

    rule: Rule
    file: str = ""
    """The data file or config, where several may be meant."""
    line: int | None = None
    """From 1; None where the matter is the whole file, or a config's value whose line is not known."""
    column: int | None = None
    """In characters, from 1."""
    place: str = ""
    """Inside the sample or config, such as `messages[1].content`."""
    facts: dict[str, str] = {}
    count: int = 1
    """How many places broke the rule, where this one stands for them."""

    def where(self, language: str) -> str:
        """Say where; empty for the file as a whole."""
        if language == "en":
            parts = [self.file, self.line and f"line {self.line:,}", self.column and f"column {self.column:,}", self.place]
            return ", ".join(part for part in parts if part)
        line, column = (f"第 {self.line} 行" if self.line else ""), (f"第 {self.column} 列" if self.column else "")
        parts = [self.file, line + column, self.place]
        return "，".join(part for part in parts if part)

    def message(self, language: str) -> str:
        """Say what is wrong."""
        return (self.rule.en if language == "en" else self.rule.zh).format_map(self.facts)

    def fix(self, language: str) -> str:
        """Say how to mend it."""
        return (self.rule.fix_en if language == "en" else self.rule.fix_zh).format_map(self.facts)

    def sentence(self, language: str) -> str:
        """Say all of it: where, what, and how to mend it."""
        where = self.where(language)
        if language == "en":
            others = f" (and {self.count - 1:,} more like it)" if self.count > 1 else ""
            return f"{where + ': ' if where else ''}{self.message('en')}{others}; {self.fix('en')}"
        others = f"（同类问题共 {self.count:,} 处）" if self.count > 1 else ""
        return f"{where + '：' if where else ''}{self.message('zh')}{others}；{self.fix('zh')}"


def shown(value: object) -> str:
    """Write a value short enough for a sentence; what is invisible is escaped."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text[: SHOWN + 1])
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def kinds(wanted: Any, found: object) -> dict[str, str]:  # noqa: ANN401 - a type
    """Name a wanted type and that of a found value, in both languages."""
    return kind("kind", wanted) | kind("found", type(found))


def kind(name: str, type_: Any) -> dict[str, str]:  # noqa: ANN401 - a type
    """Name a type in both languages."""
    zh, en = KINDS.get(type_, (str(type_), str(type_)))
    return {f"{name}_zh": zh, f"{name}_en": en}


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Those that keep a launch back."""
    return [each for each in problems if each.rule.severity == "error"]
