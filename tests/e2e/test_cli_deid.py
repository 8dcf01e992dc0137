"""`tuneyard deid` on real files: what is found is said without being shown, and a copy is written whole or not at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import PATIENCE, REPOSITORY, inherited

MOBILE = "13812345678"
LINES = [
    f'{{"messages": [{{"role": "user", "content": "我的手机号是{MOBILE}"}}]}}',
    '{"clean":  "没有"}',
    f'{{"order_id": "{MOBILE}", "buyer_mobile": "{MOBILE}", "mail": "zhang@qq.com"}}',
]


def deid(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    environment = inherited() | {"PYTHONPATH": str(REPOSITORY), "LANG": "zh_CN.UTF-8"} | settings
    command = [sys.executable, "-P", "-m", "tuneyard", "deid", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A data file with personal data in it."""
    path = tmp_path / "train.jsonl"
    path.write_text("\r\n".join(LINES) + "\n")
    return path


def test_a_scan_says_what_is_there_and_shows_none_of_it(file: Path) -> None:
    done = deid("scan", "train.jsonl", cwd=file.parent)

    assert 0 == done.returncode, done.stderr
    assert MOBILE not in done.stdout + done.stderr
    assert "zhang@" not in done.stdout + done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert ["手机号", "2", "1**********"] == table["CN_MOBILE"]
    assert ["邮箱", "1", "z***********"] == table["EMAIL"]
    assert "3 lines, 2 with personal data" in done.stderr
    assert ["train.jsonl"] == [path.name for path in file.parent.iterdir()]


def test_a_copy_is_clean_and_repeatable_and_the_rest_is_as_it_was(file: Path) -> None:
    before = file.read_bytes()
    first = deid("apply", "train.jsonl", "--seed", "42", "--json", cwd=file.parent, TUNEYARD_DEID_KEYS="k1:" + "ab" * 32)
    assert 0 == first.returncode, first.stderr
    copy = (file.parent / "train.deid.jsonl").read_bytes()
    deid("apply", "train.jsonl", "--seed", "42", "-o", "again.jsonl", cwd=file.parent, TUNEYARD_DEID_KEYS="k1:" + "ab" * 32)

    assert before == file.read_bytes()
    assert copy == (file.parent / "again.jsonl").read_bytes()
    lines = copy.decode().split("\r\n")
    assert LINES[1] == lines[1]
    kept = json.loads(lines[2])
    assert MOBILE == kept["order_id"]
    assert kept["buyer_mobile"].startswith("12")
    assert json.loads(lines[0])["messages"][0]["content"] == "我的手机号是" + kept["buyer_mobile"]
    summary = json.loads(first.stdout)
    assert {"CN_MOBILE": 2, "EMAIL": 1} == {each["type"]: each["count"] for each in summary["found"]}
    assert "keyed" == summary["security"]


def test_a_line_that_cannot_be_read_is_named_and_nothing_is_written(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b'{"a": "\xff"}\n')
    done = deid("apply", "train.jsonl", cwd=file.parent)

    assert 2 == done.returncode
    assert "line 4 of train.jsonl cannot be read (byte 7 is not UTF-8), so nothing was written" in done.stderr
    assert ["train.jsonl"] == [path.name for path in file.parent.iterdir()]
    assert "line 4: byte 7 is not UTF-8" in deid("scan", "train.jsonl", cwd=file.parent).stderr


def test_plain_text_is_cleaned_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"电话 {MOBILE}\n无\n")
    done = deid("apply", "a.txt", "--policy", "mask", cwd=tmp_path)

    assert 0 == done.returncode, done.stderr
    assert "电话 138****5678\n无\n" == (tmp_path / "a.deid.txt").read_text()


def test_what_cannot_be_done_is_said_in_one_line(file: Path) -> None:
    unknown = deid("scan", "train.jsonl", "--policy", "nope", cwd=file.parent)
    itself = deid("apply", "train.jsonl", "-o", "train.jsonl", cwd=file.parent)
    keyless = deid("apply", "train.jsonl", "--policy", "reversible", cwd=file.parent)

    assert [2, 2, 2] == [each.returncode for each in (unknown, itself, keyless)]
    assert "there is no policy nope; there are default, mask, redact, reversible" in unknown.stderr
    assert "would be overwritten" in itself.stderr
    assert "this server has no key" in keyless.stderr
    assert LINES[1] in file.read_text()
