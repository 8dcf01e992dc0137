"""Every place where the house may die: found in the source, so that a new one cannot be forgotten."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house import REPOSITORY

_LITERAL = re.compile(r'failpoint\("(\w+)", "(\w+)"\)')


def actions_run_in(*rooms: str) -> set[str]:
    """Return the actions that files of these rooms run in a transaction, as `<feature>.<action>`."""
    return {name for file in _files(*rooms) for name in _run_in(ast.parse(file.read_text()))}


def named() -> set[str]:
    """Return the failpoints with a name of their own, as `<kind>.<name>`."""
    rooms = ("api", "domain", "infra", "workers")
    return {".".join(found) for file in _files(*rooms) for found in _LITERAL.findall(file.read_text())}


def points(place: str) -> list[str]:
    """Return what TUNEYARD_FAILPOINT is set to there: an action has two places, what has a name of its own is one."""
    action = place.partition(".")[2]
    return [place] if place in named() else [f"uncommitted.{action}", f"committed.{action}"]


def _files(*rooms: str) -> Iterator[Path]:
    return (file for room in rooms for file in (REPOSITORY / room).rglob("*.py"))


def _run_in(tree: ast.Module) -> Iterator[str]:
    features = {
        alias.asname or alias.name: node.module.removeprefix("domain.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("domain.")
        for alias in node.names
        if alias.name in {"actions", "hosting"}
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _runs(node.func):
            for asked in node.args[:1]:
                if isinstance(asked, ast.Attribute) and isinstance(asked.value, ast.Name) and asked.value.id in features:
                    yield f"{features[asked.value.id]}.{asked.attr}"


def _runs(called: ast.expr) -> bool:
    """Whether this is `….run(…)`, or `partial(…)` of what will be."""
    if isinstance(called, ast.Name):
        return called.id == "partial"
    return isinstance(called, ast.Attribute) and called.attr == "run"
