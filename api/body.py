"""JSON bodies, read so that nothing hostile gets further and every wrong field is named at once."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import Struct
from typing_extensions import override

from domain.errors import Flaw, Invalid, TooLarge

LARGEST_BODY = 1024 * 1024
"""Bytes of a JSON body; uploads have limits of their own."""
DEEPEST = 64
"""Levels of nesting: far beyond any honest body, far below what a reader's stack takes."""
MOST_FLAWS = 50
"""Wrong fields named in one answer; nobody mends more at once, and a hostile body may hold a million."""


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is UTF-8, shallow, free of NUL, and fits the handler's struct field by field."""

    @override
    async def body(self) -> bytes:
        """Return the body; TooLarge beyond the limit, Invalid when there is none and the handler needs one."""
        try:
            body = await super().body()
        except RequestEntityTooLarge:
            limit = self.route_handler.resolve_request_max_body_size() or LARGEST_BODY
            message = f"the body has more than {limit:,} bytes"
            raise TooLarge(message, limit_bytes=limit) from None
        wanted = self.route_handler.parsed_data_field
        if not body and wanted is not None and not wanted.is_optional:
            message = "the body is empty; it must be a JSON object"
            raise Invalid(message)
        return body

    @override
    async def json(self) -> Any:
        """Return the body as JSON; Invalid says what is wrong with it, everything at once. An empty body is null."""
        wanted = self.route_handler.parsed_data_field
        value = parse(await self.body())
        if wanted is not None:
            struct = next((each for each in (wanted.annotation, *wanted.args) if _is_struct(each)), None)
            if struct is not None and not (value is None and wanted.is_optional):
                check(value, struct)
        return value


def parse(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Read JSON text; Invalid when it is not, or when it is built to hurt. Of a repeated name the last value counts."""
    if not body:
        return None
    try:
        value = msgspec.json.decode(body.decode())
    except UnicodeDecodeError as wrong:
        message = f"the body is not UTF-8 (byte {wrong.start})"
        raise Invalid(message) from None
    except msgspec.DecodeError as wrong:
        message = f"the body is not JSON: {wrong}"
        raise Invalid(message) from None
    except RecursionError:
        raise _too_deep() from None
    _require_storable(value)
    return value


def check(value: Any, struct: type[Struct]) -> None:  # noqa: ANN401 - any JSON
    """Hold a JSON value against a struct; Invalid naming every wrong field, those unknown and those missing included."""
    if not isinstance(value, dict):
        message = "the body must be a JSON object"
        raise Invalid(message)
    try:
        msgspec.convert(value, struct)
    except msgspec.ValidationError:  # it stops at the first; the caller is told of all
        flaws = list(islice(_flaws(value, struct, ""), MOST_FLAWS))
        message = "the body is not valid: " + "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws) from None


def _flaws(value: dict[str, Any], struct: type[Struct], before: str) -> Iterator[Flaw]:
    """Yield what is wrong with an object and the objects in it; `before` is the way to it."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in value:
        if name not in fields:
            yield Flaw(before + name, f"is not known here; known are {', '.join(fields)}")
    for name, field in fields.items():
        if name not in value:
            if field.required:
                yield Flaw(before + name, "is required")
        elif _is_struct(field.type) and isinstance(value[name], dict):
            yield from _flaws(value[name], field.type, f"{before}{name}.")
        else:
            yield from _flaws_of_value(before + name, value[name], field.type)


def _flaws_of_value(name: str, value: Any, type_: Any) -> Iterator[Flaw]:  # noqa: ANN401 - any JSON and any annotation
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as wrong:
        text, _, place = str(wrong).partition(" - at `$")
        yield Flaw(name + place.rstrip("`"), text[:1].lower() + text[1:])


def _is_struct(type_: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(type_, type) and issubclass(type_, Struct)


def _require_storable(value: Any, level: int = 0) -> None:  # noqa: ANN401 - any JSON
    """Refuse what no database keeps: NUL, and integers beyond 64 bits; and nesting that nobody needs."""
    if isinstance(value, str):
        if "\0" in value:
            message = "the body holds a NUL character, which no text of ours may"
            raise Invalid(message)
    elif isinstance(value, dict | list):
        if level == DEEPEST:
            raise _too_deep()
        if isinstance(value, dict):
            _require_storable([*value], level)
            value = value.values()
        for each in value:
            _require_storable(each, level + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        message = f"the body holds an integer beyond 64 bits: {str(value)[:40]}"
        raise Invalid(message)


def _too_deep() -> Invalid:
    return Invalid(f"the body is nested deeper than {DEEPEST} levels")
