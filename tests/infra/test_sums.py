"""The sums and the bytes of what a run left: as other programs reckon and read them, and never of something half there."""

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from threading import Event, Thread

import pytest
from typing_extensions import override

from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.runs.artifact import DELETED, Artifact, ArtifactType, FileSum, Found
from domain.runs.run import Run
from infra.files.content import Content, content_of
from infra.files.output import scan
from infra.files.sums import reckon
from tests.house import eventually
from tests.infra.test_output import safetensors
from tests.things import AT, a_run, an_artifact

GIB = 2**30


@pytest.fixture
def run() -> Run:
    """A run whose name is not ASCII."""
    return a_run(name='基线 "1"', host="gpu-1")


@pytest.fixture
def output(tmp_path: Path, run: Run) -> Path:
    """The output folder of the run: a checkpoint with a folder in it, a model with its tokenizer, an evaluation."""
    folder = tmp_path / run.folder / "output"
    for path, content in {
        "checkpoint-20/model.safetensors": safetensors(),
        "checkpoint-20/trainer_state.json": b'{"global_step": 20}',
        "checkpoint-20/状态/rank 0.txt": "第一".encode(),
        "checkpoint-20/-odd.": b"",
        "model_final/config.json": b"{}",
        "model_final/model.safetensors": safetensors(3000),
        "model_final/tokenizer.json": b"{}",
        "eval_results.json": b'{"bleu": 32.5}',
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def registered(run: Run, output: Path) -> dict[str, Artifact]:
    """Everything a scan finds, by type, as it is registered."""
    return {found.type.value: artifact(run, output, found) for found in scan(output).findings}


def artifact(run: Run, output: Path, found: Found) -> Artifact:
    facts = {"name": found.name, "size_bytes": found.size_bytes, "complete": found.complete, "missing": found.missing}
    return an_artifact(run, f"{output}/{found.path}".lstrip("/"), type=found.type, **facts)


def summed(root: Path, found: Artifact) -> Artifact:
    read = reckon(root, found, Event())
    assert read is not None
    return found.summed(read, AT)


def test_sums_are_those_of_sha256sum(tmp_path: Path, run: Run, output: Path) -> None:
    checkpoint = summed(tmp_path, registered(run, output)["checkpoint"])

    listed = subprocess.run(
        ["bash", "-c", "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum --"],
        cwd=output / "checkpoint-20",
        capture_output=True,
        check=True,
    ).stdout
    assert listed.decode() == "".join(f"{file.sha256}  {file.path}\n" for file in checkpoint.manifest)
    assert hashlib.sha256(listed).hexdigest() == checkpoint.sha256
    assert checkpoint.size_bytes == sum(file.size_bytes for file in checkpoint.manifest)


def test_the_sum_of_a_single_file_is_its_own(tmp_path: Path, run: Run, output: Path) -> None:
    evaluation = summed(tmp_path, registered(run, output)["evaluation"])

    expected = hashlib.sha256((output / "eval_results.json").read_bytes()).hexdigest()
    assert (expected, [FileSum(path=".", size_bytes=14, sha256=expected)]) == (evaluation.sha256, evaluation.manifest)


def test_a_folder_that_is_two_things_gives_each_its_own_files(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)

    files = {kind: [file.path for file in summed(tmp_path, found[kind]).manifest] for kind in ("model", "tokenizer")}

    assert {"model": ["config.json", "model.safetensors", "tokenizer.json"], "tokenizer": ["tokenizer.json"]} == files


def test_what_is_gone_or_less_than_it_was_is_not_complete(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)
    (output / "checkpoint-20" / "model.safetensors").write_bytes(safetensors()[:-10])
    (output / "model_final" / "tokenizer.json").unlink()
    (output / "eval_results.json").write_bytes(b"{")

    now = {kind: summed(tmp_path, each) for kind, each in found.items()}

    assert {
        "checkpoint": "model.safetensors has 105 bytes where its header announces 115",
        "model": "it has 3081 bytes where 3083 were left when the run ended",
        "tokenizer": DELETED,
        "evaluation": "it has 1 bytes where 14 were left when the run ended",
    } == {kind: each.missing for kind, each in now.items()}
    assert {(False, None, 0)} == {(each.complete, each.sha256, len(each.manifest)) for each in now.values()}


def test_what_was_added_is_summed_as_it_is_now(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)["checkpoint"]
    (output / "checkpoint-20" / "README.md").write_bytes(b"# good")

    now = summed(tmp_path, found)

    assert (True, found.size_bytes + 6) == (now.complete, now.size_bytes)


def test_a_link_is_not_followed_for_a_sum(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)["evaluation"]
    (tmp_path / "secret.json").write_bytes(b'{"bleu": 32.5}')
    (output / "eval_results.json").unlink()
    (output / "eval_results.json").symlink_to(tmp_path / "secret.json")

    assert DELETED == summed(tmp_path, found).missing


def test_a_linked_output_folder_is_not_read(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)["evaluation"]
    output.rename(tmp_path / "elsewhere")
    output.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Invalid, match="crosses a symbolic link"):
        reckon(tmp_path, found, Event())
    with pytest.raises(Invalid, match="crosses a symbolic link"):
        content_of(tmp_path, run, found, None).read(0, 1)


def test_nothing_is_said_of_a_run_that_is_not_on_this_disk(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)["checkpoint"]

    assert reckon(tmp_path / "elsewhere", found, Event()) is None


def test_a_file_that_changes_while_it_is_read_gets_no_sum(tmp_path: Path, run: Run, output: Path) -> None:
    class Meddling(Event):
        """Asked after the first batch whether to stop, it writes into the file."""

        @override
        def is_set(self) -> bool:
            (output / "eval_results.json").write_bytes(b'{"bleu": 99.9}')
            return False

    found = registered(run, output)["evaluation"]
    os.utime(output / "eval_results.json", (1, 1))

    assert reckon(tmp_path, found, Meddling()) is None


def test_a_reading_of_any_size_ends_at_once_when_it_is_stopped(tmp_path: Path, run: Run, output: Path) -> None:
    with (output / "eval_results.json").open("r+b") as file:
        file.truncate(400 * GIB)
    stop, seen = Event(), []
    found = registered(run, output)["evaluation"]
    thread = Thread(target=lambda: seen.append(reckon(tmp_path, found, stop)))
    thread.start()

    stop.set()

    assert [None] == eventually(lambda: seen, within=2)
    thread.join()


class Opened(io.RawIOBase):
    """A content as a file that programs can seek in."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    @override
    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        self._at = offset
        return offset

    @override
    def tell(self) -> int:
        return self._at

    @override
    def read(self, size: int = -1) -> bytes:
        found = self._content.read(self._at, size)
        self._at += len(found)
        return found


def whole(content: Content) -> bytes:
    return b"".join(iter_of(content, 0, content.size, 700))


def iter_of(content: Content, start: int, stop: int, size: int) -> list[bytes]:
    parts = []
    while start < stop:
        parts.append(content.read(start, min(size, stop - start)))
        start += len(parts[-1])
    return parts


def test_a_folder_is_a_tar_that_others_read(tmp_path: Path, run: Run, output: Path) -> None:
    checkpoint = summed(tmp_path, registered(run, output)["checkpoint"])

    content = content_of(tmp_path, run, checkpoint, None)

    stem = '基线 "1"-checkpoint-20'
    assert (f"{stem}.tar", f"{checkpoint.sha256}-tar") == (content.name, content.etag)
    with tarfile.open(fileobj=io.BytesIO(whole(content)), mode="r:") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        ends_at = tar.offset
    expected = {f"{stem}/{file.path}": (output / "checkpoint-20" / file.path).read_bytes() for file in checkpoint.manifest}
    assert expected == members
    assert 0 < ends_at <= content.size - 1024
    assert 0 == content.size % tarfile.RECORDSIZE


def test_a_large_file_stands_in_a_tar_with_its_size(tmp_path: Path, run: Run, output: Path) -> None:
    with (output / "checkpoint-20" / "optimizer.npz").open("wb") as file:
        file.truncate(9 * GIB)
    content = content_of(tmp_path, run, registered(run, output)["checkpoint"], None)

    with tarfile.open(fileobj=Opened(content), mode="r:") as tar:
        sizes = {member.name.rpartition("/")[2]: member.size for member in tar}

    assert (9 * GIB, 19) == (sizes["optimizer.npz"], sizes["trainer_state.json"])


def test_any_part_of_a_tar_is_what_stands_there_in_the_whole(tmp_path: Path, run: Run, output: Path) -> None:
    content = content_of(tmp_path, run, registered(run, output)["model"], None)
    everything = whole(content)

    for start in range(0, content.size, 97):
        assert everything[start : start + 1500] == b"".join(iter_of(content, start, min(start + 1500, content.size), 600)), start
    assert b"" == content.read(content.size, 10)


def test_one_file_of_a_folder_is_given_as_it_is(tmp_path: Path, run: Run, output: Path) -> None:
    checkpoint = summed(tmp_path, registered(run, output)["checkpoint"])

    content = content_of(tmp_path, run, checkpoint, "状态/rank 0.txt")

    assert ("rank 0.txt", "第一".encode()) == (content.name, whole(content))
    assert hashlib.sha256("第一".encode()).hexdigest() == content.etag


@pytest.mark.parametrize("path", ["../eval_results.json", "/etc/passwd", "状态/../trainer_state.json", "", "%2e%2e/x"])
def test_no_path_leads_out_of_an_artifact(tmp_path: Path, run: Run, output: Path, path: str) -> None:
    with pytest.raises(Invalid):
        content_of(tmp_path, run, registered(run, output)["checkpoint"], path)


def test_what_cannot_be_had_says_why(tmp_path: Path, run: Run, output: Path) -> None:
    found = registered(run, output)
    evaluation = summed(tmp_path, found["evaluation"])
    half = an_artifact(run, "checkpoint-40", type=ArtifactType.checkpoint, complete=False, missing="no weights are there")
    reading = content_of(tmp_path, run, found["checkpoint"], "model.safetensors")

    with pytest.raises(Conflict, match="not complete: no weights are there"):
        content_of(tmp_path, run, half, None)
    with pytest.raises(Conflict, match="on host gpu-1, which does not share"):
        content_of(tmp_path / "elsewhere", run, found["model"], None)
    with pytest.raises(NotFound, match="has no file rank0.txt"):
        content_of(tmp_path, run, found["checkpoint"], "rank0.txt")
    with pytest.raises(NotFound, match="is a single file"):
        content_of(tmp_path, run, evaluation, "eval_results.json")
    (output / "eval_results.json").write_bytes(b"{}")
    with pytest.raises(Conflict, match="has been changed on the disk since"):
        content_of(tmp_path, run, evaluation, None)
    (output / "checkpoint-20" / "model.safetensors").write_bytes(safetensors())
    with pytest.raises(Unavailable, match="has changed while it was read"):
        reading.read(0, 10)
    (output / "eval_results.json").unlink()
    with pytest.raises(Conflict, match=DELETED):
        content_of(tmp_path, run, found["evaluation"], None)
