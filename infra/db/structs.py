"""A struct of the domain becomes a table, and its rows become the struct again; there is no second definition.

A column's type follows the field's: words are kept as their codes, moments in UTC, and everything nested as JSON.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Dialect, Float, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.types import TypeDecorator, TypeEngine

from domain.words import Word

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T", bound=msgspec.Struct)
METADATA = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"})


class UtcTime(TypeDecorator[datetime]):
    """A moment: `timestamptz` on PostgreSQL, naive UTC on SQLite, always aware in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write it in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read it aware."""
        del dialect
        return value if value is None or value.tzinfo is UTC else value.replace(tzinfo=UTC)


class Code(TypeDecorator[Word]):
    """A word, kept as its code."""

    impl = String()
    cache_ok = True

    def __init__(self, word: type[Word]) -> None:
        super().__init__()
        self.word = word
        self.known = {str(member): member for member in word}

    def process_bind_param(self, value: Word | None, dialect: Dialect) -> str | None:
        """Write the code."""
        del dialect
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Word | None:
        """Read the word."""
        del dialect
        return None if value is None else self.known[value]


class Json(TypeDecorator[Any]):
    """Anything nested, as JSON text that msgspec reads back into the field's own type."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, type_: Any) -> None:  # noqa: ANN401 - any annotation
        super().__init__()
        self.type_ = type_
        self._decode = msgspec.json.Decoder(type_).decode

    def __repr__(self) -> str:
        """As a migration would write it: all JSON columns are the same to the database."""
        return "Json()"

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401 - see the class
        """Read the field's type out of the text (the engine's own JSON reader is switched off)."""
        del dialect
        return self.read(value)

    def read(self, value: str | None) -> Any:  # noqa: ANN401 - see the class
        """Read JSON text, or the lack of it."""
        return None if value is None else self._decode(value)


def encode_json(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Write JSON as the engines are told to."""
    return msgspec.json.encode(value).decode()


class Stored(Generic[T]):
    """A struct, its table, and the way between them."""

    def __init__(self, struct: type[T], table: Table) -> None:
        self.struct = struct
        self.table = table
        self.names = [field.name for field in msgspec.structs.fields(struct)]
        self.columns = [table.c[name] for name in self.names]
        self.c = table.c

    def part(self, struct: type[S]) -> "Stored[S]":
        """Return the same table, read as a struct of fewer columns."""
        return Stored(struct, self.table)

    def row(self, thing: T) -> dict[str, Any]:
        """Return a struct's values by column."""
        return {name: getattr(thing, name) for name in self.names}

    def struct_of(self, row: Sequence[Any]) -> T:
        """Build the struct from a row of `columns`."""
        return self.struct(**dict(zip(self.names, row, strict=True)))


def stored(name: str, struct: type[T], key: Sequence[str], *indexes: Index, numbered: bool = False) -> Stored[T]:
    """Derive the table of a struct. Without a key its rows get a number of their own; `numbered` lets the database give the key."""
    columns = [_column(field, key, numbered=numbered) for field in msgspec.structs.fields(struct)]
    if not key:
        columns.insert(0, Column("row", _bigint(), primary_key=True, autoincrement=True))
    return Stored(struct, Table(name, METADATA, *columns, *indexes))


def _column(field: msgspec.structs.FieldInfo, key: Sequence[str], *, numbered: bool) -> Column[Any]:
    type_, nullable = _plain(field.type)
    first_key = bool(key) and field.name == key[0]
    return Column(
        field.name,
        _bigint() if numbered and first_key else _type(type_),
        primary_key=field.name in key,
        nullable=nullable,
        autoincrement=numbered and first_key,
    )


def _plain(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any annotation
    """Split `X | None` into X and whether None is allowed."""
    if get_origin(annotation) in (Union, UnionType):
        others = [each for each in get_args(annotation) if each is not NoneType]
        if len(others) == 1 and len(others) < len(get_args(annotation)):
            return others[0], True
    return annotation, False


_TYPES: dict[Any, Callable[[], TypeEngine[Any]]] = {
    str: String,
    int: BigInteger,
    float: lambda: Float(53),
    bool: Boolean,
    bytes: LargeBinary,
    datetime: UtcTime,
}


def _type(type_: Any) -> TypeEngine[Any]:  # noqa: ANN401 - any annotation
    type_ = getattr(type_, "__supertype__", type_)
    if type_ in _TYPES:
        return _TYPES[type_]()
    if isinstance(type_, type) and issubclass(type_, Word):
        return Code(type_)
    return Json(type_)


def _bigint() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")
