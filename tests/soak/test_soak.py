"""The soak itself runs, keeps every promise for a quarter of a minute, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.house import REPOSITORY, inherited

SECONDS = 15
LONGEST = 300
"""Seconds for the whole of it, on a machine that others use too."""


@pytest.mark.slow
@pytest.mark.timeout(LONGEST)
def test_a_short_soak_breaks_no_promise_and_leaves_nothing_running() -> None:
    command = [sys.executable, "-P", "-m", "tests.soak", "--seconds", str(SECONDS), "--seed", "7"]
    # Not below pytest's own folder, which the user that PostgreSQL runs as may not enter.
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        environment = inherited() | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": name}

        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    promises = [line.split()[0] for line in ended.stdout.splitlines() if line.endswith("0 broken")]
    assert [f"P{number}" for number in range(1, 11)] == promises
    assert not [place for place in Path("/proc").glob("[0-9]*") if _is_of(place, folder)]


def _is_of(place: Path, folder: Path) -> bool:
    try:
        return bytes(folder) in (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
    except OSError:
        return False
