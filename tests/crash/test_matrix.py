"""The fault matrix tells the truth: every test that it names exists, and every mechanism stands in the source where it is said to."""

import ast

import pytest

from tests.crash.matrix import CELLS
from tests.crash.mechanisms import MECHANISMS, Edit
from tests.house import REPOSITORY

TESTS = sorted({test for cell in CELLS for test in cell.proofs})
EDITS = [(name, edit) for name, edits in MECHANISMS.items() for edit in edits]


@pytest.mark.parametrize("test", TESTS)
def test_every_test_that_proves_a_cell_exists(test: str) -> None:
    file, *classes, name = test.partition("[")[0].split("::")

    defined = {node.name for node in ast.walk(ast.parse((REPOSITORY / file).read_text())) if isinstance(node, _DEFINES)}

    inherited = ast.walk(ast.parse((REPOSITORY / "tests/contracts/executors.py").read_text())) if classes else ()
    assert name in defined | {node.name for node in inherited if isinstance(node, _DEFINES)}
    assert defined.issuperset(classes)


@pytest.mark.parametrize(("mechanism", "edit"), EDITS, ids=[f"{name}-{edit.file}" for name, edit in EDITS])
def test_every_mechanism_stands_where_the_matrix_says(mechanism: str, edit: Edit) -> None:
    text = (REPOSITORY / edit.file).read_text()

    assert edit.old in text, f"“{mechanism}” has moved: say in tests/crash/mechanisms.py where it is now and how to take it out"
    ast.parse(text.replace(edit.old, edit.new))


def test_every_cell_has_a_proof_and_every_mechanism_is_needed() -> None:
    assert all(cell.proofs for cell in CELLS)
    assert len(CELLS) == len({(cell.fault, cell.state) for cell in CELLS})
    assert set(MECHANISMS) == {mechanism for cell in CELLS for mechanism in cell.proofs.values()}


_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
