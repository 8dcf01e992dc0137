"""A real output folder: what stands there, what vanishes, and what a hostile trainer links to."""

import json
import os
import struct
from pathlib import Path

import pytest

from domain.runs.artifact import ArtifactType
from infra.files import output
from infra.files.output import OutputFolder, scan


def safetensors(size: int = 40) -> bytes:
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an output folder with one whole and one half-written checkpoint, and a final model."""
    for path, content in {
        "checkpoint-20/model.safetensors": safetensors(),
        "checkpoint-20/trainer_state.json": b'{"global_step": 20}',
        "checkpoint-40/model.safetensors": safetensors()[:-10],
        "checkpoint-40/trainer_state.json": b'{"global_step": 40}',
        "model_final/config.json": b"{}",
        "model_final/model.safetensors": safetensors(),
        "模型/trainer.log": "训练".encode(),
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


def test_a_scan_lists_what_is_there_and_says_what_is_whole(folder: Path) -> None:
    found = scan(folder).findings

    assert [
        ("checkpoint-20", 20, None),
        ("checkpoint-40", 40, "model.safetensors has 105 bytes where its header announces 115"),
        ("model_final", None, None),
        ("模型/trainer.log", None, None),
    ] == [(one.path, one.step, one.missing) for one in found]
    newest = max(file.stat().st_mtime for file in (folder / "checkpoint-20").iterdir())
    assert newest == found[0].modified_at


def test_a_folder_that_is_itself_the_model_is_judged_by_its_own_files(folder: Path) -> None:
    final = folder / "model_final"

    assert [(".", "model", True)] == [(one.path, one.name, one.complete) for one in scan(final).findings]


def test_no_folder_is_no_finding(tmp_path: Path) -> None:
    assert ([], False) == ((never := scan(tmp_path / "never")).findings, never.whole)


def test_links_are_neither_listed_nor_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.log").write_text("secret")
    (folder / "linked").symlink_to(outside)
    (folder / "secret.log").symlink_to(outside / "secret.log")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.log")

    seen = OutputFolder(folder)

    assert {"checkpoint-20", "checkpoint-40", "model_final", "模型"} == {path.split("/")[0] for path in seen.files()}
    assert [b"", b"", b""] == [seen.read(path, 0, 9) for path in ("linked/secret.log", "secret.log", "pipe.log")]


def test_a_read_stays_in_its_folder(folder: Path) -> None:
    seen = OutputFolder(folder / "checkpoint-20")

    assert b"global" == seen.read("trainer_state.json", 2, 6)
    assert b"" == seen.read("gone.json", 0, 6)
    assert b"" == seen.read("trainer_state.json/x", 0, 6)
    assert b"" == seen.read("trainer_state.json", 1000, 6)


def test_files_that_vanish_between_the_listing_and_the_look_make_a_checkpoint_incomplete(folder: Path) -> None:
    seen = OutputFolder(folder)
    files = {"model.safetensors": len(safetensors())}
    (folder / "checkpoint-20" / "model.safetensors").unlink()

    verdict = seen.judge(ArtifactType.checkpoint, "checkpoint-20", files)

    assert verdict.missing == "model.safetensors cannot be read"


def test_a_listing_ends_at_its_limit_and_shows_the_top_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_FILES", 5)
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    for number in range(20):
        (deep / f"{number}.bin").touch()

    listing = OutputFolder(folder).listing()

    assert len(listing) == 5
    assert not any(file.path.startswith("a/b/") for file in listing)


def test_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a\nb.log").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.log")).touch()
    (tmp_path / "日志.log").touch()

    assert ["日志.log"] == [one.path for one in scan(tmp_path).findings]
