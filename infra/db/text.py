"""The few expressions that SQLite and PostgreSQL spell differently."""

from typing import Any

from sqlalchemy import Column, ColumnElement, String, bindparam, cast, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB


def contains(column: Column[Any], word: str, dialect: str) -> ColumnElement[bool]:
    """Whether a JSON array of strings holds this word."""
    if dialect == "postgresql":
        return cast(column, JSONB).op("?")(cast(literal(word), String))
    each = func.json_each(column).table_valued("value")
    return exists(select(each.c.value).where(each.c.value == bindparam(None, word, String)))
