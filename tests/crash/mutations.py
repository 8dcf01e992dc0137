"""Sees every proof of the fault matrix fail without its mechanism: `python -m tests.crash.mutations [--list] [WORD …]`.

On a copy of the working tree, it takes out one mechanism after the other, runs the test that names it, and expects it to fail; words
choose the rows that contain one of them. Before that, each test must pass on the copy as it is; `--trust` leaves that out.
It takes half an hour, so no suite runs it. It exits 1 if any test passed that should have failed.
"""

import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.crash.matrix import CELLS, Cell
from tests.crash.mechanisms import MECHANISMS
from tests.house import REPOSITORY

PASSED, FAILED = 0, 1
"""Exit codes of pytest; others mean that the test did not run at all."""
RUN_SECONDS = 600
OF_ITS_OWN = "timeout=500"
"""A test is to fail by what it says itself, not by the limit of all tests."""


def main() -> int:
    """Show the table, or fill its last column."""
    said = ArgumentParser(prog="python -m tests.crash.mutations", description=__doc__)
    said.add_argument("words", nargs="*", metavar="WORD", help="only rows that contain one of them")
    said.add_argument("--list", action="store_true", help="print the matrix, run nothing")
    said.add_argument("--trust", action="store_true", help="do not run each test on the unchanged copy first")
    asked = said.parse_args()
    rows = [row for row in _rows() if not asked.words or any(word in " ".join(row) for word in asked.words)]
    if asked.list:
        for row in rows:
            _say(" · ".join(row))
        return 0
    with _copy() as tree:
        verdicts = [_verdict(tree, *row, trust=asked.trust) for row in rows]
    _say(f"{sum(verdicts)} of {len(verdicts)} tests failed without their mechanism, as they should")
    return 0 if all(verdicts) else 1


def _rows() -> Iterator[tuple[str, str, str]]:
    """Cell, test and mechanism; a pair that proves several cells is there once."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in CELLS:
        for proof in cell.proofs.items():
            cells.setdefault(proof, []).append(cell)
    for (test, mechanism), proven in cells.items():
        yield "; ".join(f"{cell.fault} / {cell.state}" for cell in proven), test, mechanism


@contextmanager
def _copy() -> Iterator[Path]:
    """The working tree as git sees it, with what is not committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=REPOSITORY, check=True, capture_output=True)
    with TemporaryDirectory(prefix="tuneyard-mutations-") as folder:
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (REPOSITORY / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, Path(folder) / name)
        yield Path(folder)


def _verdict(tree: Path, cell: str, test: str, mechanism: str, *, trust: bool) -> bool:
    """Whether the test passes with its mechanism and fails without it; both are said."""
    began = time.monotonic()
    before = (PASSED, "") if trust else _run(tree, test)
    with _without(tree, mechanism):
        code, words = _run(tree, test)
    well = (before[0], code) == (PASSED, FAILED)
    said = f"failed: {words}" if code == FAILED else "PASSED" if code == PASSED else f"DID NOT RUN ({code}): {words}"
    if before[0] != PASSED:
        said = f"DID NOT PASS AS IT IS ({before[0]}): {before[1]}"
    took = time.monotonic() - began
    _say(f"{'red ' if well else 'BAD '} {cell}\n      {test}\n      without “{mechanism}”: {said} ({took:.0f} s)")
    return well


@contextmanager
def _without(tree: Path, mechanism: str) -> Iterator[None]:
    """Take a mechanism out for a while."""
    whole = {edit.file: (tree / edit.file).read_text() for edit in MECHANISMS[mechanism]}
    try:
        for edit in MECHANISMS[mechanism]:
            text = (tree / edit.file).read_text()
            assert edit.old in text, f"{edit.file} does not contain {edit.old!r}"
            (tree / edit.file).write_text(text.replace(edit.old, edit.new))
        yield
    finally:
        for file, text in whole.items():
            (tree / file).write_text(text)


def _run(tree: Path, test: str) -> tuple[int, str]:
    """Run one test there; pytest's exit code, and what it said of the first failure."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-o",
        OF_ITS_OWN,
        "-xq",
        "--no-header",
        "--tb=short",
        test,
    ]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True, timeout=RUN_SECONDS)
    said = [line.removeprefix("E ").strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    return done.returncode, (said or done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-200:]])[0][:160]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
