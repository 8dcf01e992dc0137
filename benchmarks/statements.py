"""What a database is asked during one request, by its own log: so that a comparison is of programs that execute the same statements."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.databases import configure

_STATEMENT = re.compile(r"LOG:  (?:execute [^:]*|statement): (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN)\s+(\w+)", re.IGNORECASE)


def asked(url: str, log: Path, act: Callable[[], object]) -> list[str]:
    """Return the statements that the server executes while `act` runs, each as its verb and its tables."""
    configure(url, log_statement="all")
    begin = log.stat().st_size
    act()
    configure(url, log_statement="none")
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode(errors="replace").partition("statement: ALTER SYSTEM")[0]
    return [_shape(statement) for statement in _STATEMENT.findall(text)]


def beyond(ours: Sequence[str], floor: Sequence[str]) -> list[str] | None:
    """Return what `ours` asks beside what `floor` asks, in the same order; None when the floor asks anything else."""
    rest = iter(floor)
    wanted = next(rest, None)
    more = []
    for statement in ours:
        if statement == wanted:
            wanted = next(rest, None)
        else:
            more.append(statement)
    return more if wanted is None else None


def _shape(statement: str) -> str:
    verb = statement.strip().partition(" ")[0].rstrip(";\n").upper()
    return " ".join([verb, *sorted(set(_TABLE.findall(statement)))])
