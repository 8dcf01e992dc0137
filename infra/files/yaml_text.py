"""Training configs as YAML: hostile text is refused within a second, and what is accepted means what YAML 1.2 says.

libyaml only cuts the text into events, and limits stop it before anything is built; its loader, which nesting can crash, is never called.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from domain.errors import Flaw, Invalid, TooLarge
from infra.files.yaml_scalars import Unreadable, plain_value, written

MAX_DEPTH = 32
"""Nested collections; real configs stay under ten, and libyaml's cost grows with the square of the depth."""
MAX_EVENTS = 100_000
"""A scalar is one event, a collection two: about half a second of work."""
MAX_FLAWS = 20
"""Nobody mends more than this at once."""
LONGEST_SIMPLE_KEY = 128
"""Characters; YAML readers expect a longer key after a question mark."""

_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What YAML does not print, and the byte order mark, which nobody sees inside a text."""
_DIRECTIVE = re.compile("(?:^|[\r\n\x85\u2028\u2029])%")
"""A megabyte of %TAG lines keeps libyaml busy for ten seconds before its first event, so this is looked for first."""
_TOP_LEVEL_KEY = re.compile(r"""(["']?)([^\s"'#:{}\[\],&*!|>%@`-][^"':]*?)\1[ \t]*:[ \t]*""")
_CORE = "tag:yaml.org,2002:"
_TAGS: dict[type, str] = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def read(data: bytes, *, limit_bytes: int) -> dict[str, Any]:
    """Return the mapping that the text holds; Invalid names the wrong lines, TooLarge the limit."""
    if len(data) > limit_bytes:
        raise TooLarge(f"The YAML file has {len(data):,} bytes; at most {limit_bytes:,} are accepted.", limit_bytes=limit_bytes)
    builder = _Builder(_text(data))
    try:
        config = builder.document()
    except yaml.MarkedYAMLError as error:
        raise _refusal([_syntax_flaw(error)]) from error
    if builder.flaws:
        raise _refusal(builder.flaws)
    return config


def write(config: dict[str, Any]) -> str:
    """Return YAML text, keys in their order, that this reader and a YAML 1.1 reader such as PyYAML both read back as `config`."""
    return _block(config, "") if config else "{}\n"


def places(data: bytes) -> dict[str, tuple[int, int]]:
    """Return line and column (from 1) of the values of top-level keys that stand at the beginning of a line."""
    found = {}
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        if key := _TOP_LEVEL_KEY.match(line):
            found[key[2]] = (number, key.end() + 1)
    return found


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal([Flaw(f"line {line}", f"Line {line} is not UTF-8 text; save the file as UTF-8.")]) from error
    if found := _FORBIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _refusal([Flaw(f"line {line}", f"Line {line} holds the character U+{ord(found[0]):04X}; remove it.")])
    if found := _DIRECTIVE.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise _refusal([Flaw(f"line {line}", f"Line {line} begins with '%', a YAML directive; remove the line.")])
    return text


def _syntax_flaw(error: yaml.MarkedYAMLError) -> Flaw:
    advice = "check the indentation (spaces, never tabs), quotes and colons there"
    return Flaw(_line(error.problem_mark), f"{_place(error.problem_mark)} is not valid YAML ({error.problem}); {advice}.")


def _refusal(flaws: list[Flaw]) -> Invalid:
    if len(flaws) == 1:
        return Invalid(f"The YAML file cannot be used: {flaws[0].message}", flaws)
    return Invalid(f"The YAML file cannot be used; {len(flaws)} places are wrong, the first: {flaws[0].message}", flaws)


def _line(mark: Any) -> str:  # noqa: ANN401 - the mark of an event or of an error; each parser has a class of its own
    return f"line {mark.line + 1}"


def _place(mark: Any) -> str:  # noqa: ANN401 - as above
    return f"Line {mark.line + 1}, column {mark.column + 1}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")  # noqa: PLR2004 - enough to find it again


class _Builder:
    """Builds values from events; a flaw that can be stepped over is noted, so that one answer names them all."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._left = MAX_EVENTS
        self.flaws: list[Flaw] = []

    def document(self) -> dict[str, Any]:
        """Return the only document of the stream, which must be a mapping."""
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise Invalid("The YAML file is empty; write at least one 'key: value' line.")
        if not isinstance(top := self._next(), yaml.MappingStartEvent):
            self._fail(top, "does not begin a mapping; write the file as 'key: value' lines")
        config = self._mapping(top, depth=1)
        self._next()
        if not isinstance(end := self._next(), yaml.StreamEndEvent):
            self._fail(end, "begins a second document; keep only one")
        return config

    def _next(self) -> yaml.Event:
        event: yaml.Event = next(self._events)
        self._left -= 1
        if self._left < 0:
            self._fail(event, f"goes past {MAX_EVENTS:,} YAML elements; make the file smaller")
        return event

    def _value(self, event: yaml.Event, depth: int) -> Any:  # noqa: ANN401 - a YAML value
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if not isinstance(event, yaml.CollectionStartEvent):
            self._note(event, "uses an alias ('*'); write the value out in full")
            return None
        if depth > MAX_DEPTH:
            self._fail(event, f"nests more than {MAX_DEPTH} levels deep; make the file flatter")
        return self._mapping(event, depth) if isinstance(event, yaml.MappingStartEvent) else self._sequence(event, depth)

    def _mapping(self, start: yaml.CollectionStartEvent, depth: int) -> dict[str, Any]:
        self._check_properties(start, "map")
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            if key in mapping:
                self._note(event, f"repeats the key {_shown(key)}; keep one of them")
            mapping[key] = self._value(self._next(), depth + 1)
        return mapping

    def _sequence(self, start: yaml.CollectionStartEvent, depth: int) -> list[Any]:
        self._check_properties(start, "seq")
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _check_properties(self, start: yaml.CollectionStartEvent, tag: str) -> None:
        self._check_anchor(start)
        if start.tag not in (None, _CORE + tag):
            self._note(start, f"has the tag {_shown(start.tag)}; remove it")

    def _key(self, event: yaml.Event, depth: int) -> str:
        noted = len(self.flaws)
        value = self._value(event, depth + 1)
        text = str(getattr(event, "value", ""))
        if text == "<<" and not getattr(event, "style", None):
            self._note(event, "uses a merge key ('<<'); write the merged keys out in full")
        elif not isinstance(value, str) and noted == len(self.flaws):
            self._note(event, f"has the key {_shown(text)}, which is not a text; put it in quotes")
        return text

    def _scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        self._check_anchor(event)
        if "\0" in event.value:
            self._note(event, "holds a NUL character; remove it")
        quoted = bool(event.style) or event.tag in ("!", _CORE + "str")
        try:
            value = event.value if quoted else plain_value(event.value)
        except Unreadable as error:
            self._note(event, f"holds {_shown(event.value)}, {error}")
            return None
        if event.tag == _CORE + "float" and type(value) is int:
            return float(value)
        if event.tag not in (None, "!", _CORE + _TAGS[type(value)]):
            self._note(event, f"has the tag {_shown(event.tag)}, which does not say what the value is; remove the tag")
        return value

    def _check_anchor(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            self._note(event, "defines an anchor ('&'); remove it and write the value out wherever it is needed")

    def _note(self, event: yaml.Event, problem: str) -> None:
        self.flaws.append(Flaw(_line(event.start_mark), f"{_place(event.start_mark)} {problem}."))
        if len(self.flaws) == MAX_FLAWS:
            raise _refusal(self.flaws)

    def _fail(self, event: yaml.Event, problem: str) -> NoReturn:
        self._note(event, problem)
        raise _refusal(self.flaws)


def _block(value: dict[str, Any] | list[Any], indent: str) -> str:
    """Return the lines of a collection that is not empty."""
    if isinstance(value, dict):
        return "".join(f"{indent}{_key(key, indent)}:{_after_colon(item, indent)}" for key, item in value.items())
    return "".join(f"{indent}- {_after_dash(item, indent)}" for item in value)


def _key(key: str, indent: str) -> str:
    text = written(key)
    return text if len(text) <= LONGEST_SIMPLE_KEY else f"? {text}\n{indent}"


def _after_colon(value: Any, indent: str) -> str:  # noqa: ANN401 - a YAML value
    return f"\n{_block(value, indent + '  ')}" if value and isinstance(value, dict | list) else f" {_flat(value)}\n"


def _after_dash(value: Any, indent: str) -> str:  # noqa: ANN401 - as above
    """Return the item; a collection begins on the line of its dash, which stands where its indent would."""
    if value and isinstance(value, dict | list):
        return _block(value, indent + "  ")[len(indent) + 2 :]
    return f"{_flat(value)}\n"


def _flat(value: Any) -> str:  # noqa: ANN401 - as above
    return "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else written(value)
