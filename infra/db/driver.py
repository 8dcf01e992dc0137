"""Fixed statements go to the driver directly: compiled once, executed by asyncpg, answered as the same rows.

SQLAlchemy looks each statement up anew for every call; on the hottest paths that was more than half of the time.
A statement is `fixed` when its shape never changes; everything else takes the usual way, over the same connection.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from asyncpg import InterfaceError, InternalClientError, PostgresError, UniqueViolationError
from asyncpg.exceptions import DataError
from msgspec import Struct
from sqlalchemy import ClauseElement, Connection, Engine
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.types import TypeDecorator
from sqlalchemy.util import await_only

from infra.db.structs import Code, Json, UtcTime

S = TypeVar("S", bound=ClauseElement)
Values = Mapping[str, Any]

_FIXED: dict[ClauseElement, "_Plan | None"] = {}


def fixed(statement: S) -> S:
    """Mark a module's statement as one whose shape never changes."""
    _FIXED[statement] = None
    return statement


class Answers(list[Sequence[Any]]):
    """Rows, or how many were touched, in the way SQLAlchemy's result tells."""

    rowcount = -1

    def first(self) -> Sequence[Any] | None:
        """Return the first row."""
        return self[0] if self else None

    def one(self) -> Sequence[Any]:
        """Return the only row."""
        (row,) = self
        return row


class _Plan(Struct, frozen=True):
    """A fixed statement as the driver takes it."""

    text: str
    answers: bool
    """Whether rows come back."""
    names: list[str]
    constants: dict[str, Any]
    writers: dict[str, Callable[[Any], Any]]
    """Parameter → what makes the driver's value of the domain's."""
    readers: list[tuple[int, Callable[[Any], Any]]]
    """Column index → what makes the domain's value of the driver's."""

    def arguments(self, values: Values) -> list[Any]:
        """Return the driver's arguments, in order."""
        arguments = []
        for name in self.names:
            if name not in values:
                arguments.append(self.constants[name])
            elif name in self.writers:
                arguments.append(self.writers[name](values[name]))
            else:
                arguments.append(values[name])
        return arguments

    def row(self, record: Sequence[Any]) -> Sequence[Any]:
        """Return a row with the domain's values."""
        row = list(record)
        for index, read in self.readers:
            row[index] = read(row[index])
        return row


class DriverConnection:
    """A pooled connection: fixed statements without a detour, all others through SQLAlchemy, which opens no transaction of its own."""

    def __init__(self, autocommitting: Engine, pooled: PoolProxiedConnection) -> None:
        self._engine = autocommitting
        self._pooled = pooled
        self._usual: Connection | None = None
        self._driver: Any = pooled.driver_connection
        self.dialect: Dialect = autocommitting.dialect

    @property
    def dead(self) -> bool:
        """Whether the server has hung up."""
        return bool(self._driver.is_closed())

    def command(self, text: str) -> None:
        """Carry out `BEGIN`, `COMMIT` or `ROLLBACK`."""
        self._ask(self._driver.execute(text))

    def execute(self, statement: Any, values: Values | Sequence[Values] | None = None) -> Any:  # noqa: ANN401 - a Result, or Answers
        """Carry out one statement, once or for each of many values."""
        if statement not in _FIXED:
            if self._usual is None:
                self._usual = Connection(self._engine, self._pooled)
            return self._usual.execute(statement, values)
        many: list[Values] = [values or {}] if values is None or isinstance(values, Mapping) else list(values)
        plan = _FIXED[statement] or _plan(statement, self.dialect, many[0])
        if len(many) > 1:
            self._ask(self._driver.executemany(plan.text, [plan.arguments(each) for each in many]))
            return Answers()
        arguments = plan.arguments(many[0])
        if plan.answers:
            return Answers(map(plan.row, self._ask(self._driver.fetch(plan.text, *arguments))))
        answers = Answers()
        answers.rowcount = int(self._ask(self._driver.execute(plan.text, *arguments)).rpartition(" ")[2])
        return answers

    def scalar(self, statement: Any, values: Values | None = None) -> Any:  # noqa: ANN401 - whatever the first column holds
        """Return the first column of the first row."""
        row = self.execute(statement, values).first()
        return row[0] if row else None

    def _ask(self, question: Any) -> Any:  # noqa: ANN401 - a coroutine of the driver and its result
        try:
            return await_only(question)
        except UniqueViolationError as broken:
            raise IntegrityError(None, None, broken) from broken
        except (PostgresError, DataError) as problem:
            raise DBAPIError(None, None, problem, connection_invalidated=self.dead) from problem
        except (InterfaceError, InternalClientError, OSError) as problem:
            raise DBAPIError(None, None, problem, connection_invalidated=True) from problem


def _plan(statement: Any, dialect: Dialect, example: Values) -> _Plan:  # noqa: ANN401 - any statement
    keys = list(example) if getattr(statement, "is_insert", False) and not statement._values else None  # noqa: SLF001 - no public way
    compiled = statement.compile(dialect=dialect, column_keys=keys)
    writers = compiled._bind_processors  # noqa: SLF001 - as above
    given = {name: value for name, value in compiled.construct_params(_check=False).items() if not compiled.binds[name].required}
    constants = {name: writers[name](value) if name in writers else value for name, value in given.items()}
    columns = compiled._result_columns  # noqa: SLF001 - as above
    ours = [(index, _reader(column.type)) for index, column in enumerate(columns) if isinstance(column.type, TypeDecorator)]
    readers = [(index, read) for index, read in ours if read is not None]
    plan = _Plan(compiled.string, bool(columns), list(compiled.positiontup or ()), constants, dict(writers), readers)
    _FIXED[statement] = plan
    return plan


def _reader(type_: TypeDecorator[Any]) -> Callable[[Any], Any] | None:
    """What makes the domain's value; None where the driver's is it already."""
    if isinstance(type_, UtcTime):
        return None
    if isinstance(type_, Code):
        return type_.known.get
    return type_.read if isinstance(type_, Json) else None
