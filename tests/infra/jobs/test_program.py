"""The program of a job, as a host starts it: a folder in, a report or a reason out."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec

from domain.deid.policy import read
from domain.ids import UploadId
from domain.jobs.hosting import BAD_INPUT
from domain.jobs.job import BadLines, Source
from infra.files.rewrite import State
from infra.jobs.order import Order

LINES = b'{"t":"13812345678"}\n{"broken": \n'
POLICY = msgspec.json.encode(read({"id": "own", "version": 1})).decode()


def ordered(root: Path, bad_lines: BadLines) -> Path:
    """Write a job's folder for one file; where it is."""
    folder = root / "jobs" / "one"
    for each in (folder, root / "in"):
        each.mkdir(parents=True)
    (root / "in" / "a.jsonl").write_bytes(LINES)
    source = Source(
        upload_id=UploadId("up_1"), name="a.jsonl", sha256=sha256(LINES).hexdigest(), stored_name="in/a.jsonl", bytes=len(LINES)
    )
    order = Order(
        root=str(root),
        folder=str(folder),
        policy_id="own",
        policy=POLICY,
        key_id="k1",
        seed=None,
        bad_lines=bad_lines,
        sources=[source],
        ratio=100,
    )
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    return folder


def attempt(folder: Path) -> tuple[int, str]:
    """Run the program; its exit code and log."""
    environment = os.environ | {"TUNEYARD_DEID_KEYS": "k1:" + "ab" * 32}
    done = subprocess.run([sys.executable, "-m", "infra.jobs", folder], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_bad_line_that_was_noted_before_a_kill_still_fails_the_next_attempt(tmp_path: Path) -> None:
    folder = ordered(tmp_path, BadLines.fail)
    (folder / "0.part").write_bytes(b"")
    (folder / "0.part.state").write_bytes(msgspec.json.encode(State(source=len(LINES), lines=2, bad=1, bad_numbers=[2])))

    code, log = attempt(folder)

    assert (BAD_INPUT, False) == (code, (folder / "report.json").exists()), log
    assert "line 2 cannot be read" in log
