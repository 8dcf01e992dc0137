"""No path from outside leaves its root."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from infra.files.beneath import file_name, open_beneath, relative, stat_beneath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A training directory with one file, beside a secret that nobody may reach."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("secret")
    root = tmp_path / "训练"
    (root / "datasets" / "中文").mkdir(parents=True)
    (root / "datasets" / "中文" / "数据.jsonl").write_text("lines")
    return root


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))

    yield

    assert before >= len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "path", ["train.jsonl", "datasets/训练 数据/第1份.jsonl", ".hidden", "a/b.c/d", "100%.txt", "a%20b", "émile.txt", "..a", "a b"]
)
def test_a_plain_path_passes(path: str) -> None:
    assert PurePosixPath(path) == relative(path)
    assert path == str(relative(path))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("..", "'..'"),
        ("../secret", "'..'"),
        ("a/../../b", "'..'"),
        ("a/./b", "'.'"),
        ("./a", "'.'"),
        ("a//b", "'/' too many"),
        ("a/", "'/' too many"),
        ("%2e%2e/secret", "encoded"),
        ("a%2Fb", "encoded"),
        ("a%5cb", "encoded"),
        ("a%00b", "encoded"),
        ("%252e%252e/secret", "encoded"),
        ("..\\secret", "backslash"),
        ("C:\\a", "backslash"),
        ("a\0b", "invisible"),
        ("a\nb", "invisible"),
        ("a\x7fb", "invisible"),
        ("a\x9bb", "invisible"),
        ("evil\u202elnosj.exe", "invisible"),
        ("a\u200fb", "invisible"),
        ("a\u2066b", "invisible"),
        ("a\u2028b", "invisible"),
        ("a\ufeffb", "invisible"),
        ("a\ud800b", "invisible"),
        ("a./b", "ends with a dot"),
        ("a.txt.", "ends with a dot"),
        ("...", "ends with a dot"),
        ("a /b", "space"),
        (" a", "space"),
        ("a\u3000", "space"),
        ("a/-rf", "option"),
        ("--config", "option"),
        ("训" * 86, "255 bytes"),
        ("/".join(["a" * 200] * 21), "4095 bytes"),
    ],
)
def test_any_other_path_is_refused_in_a_sentence(path: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as refused:
        relative(path)

    assert refused.value.detail.isprintable()
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize("name", ["train.jsonl", "训练数据 第2版.yaml", 'q"u.txt', "a" * 255])
def test_a_plain_file_name_passes(name: str) -> None:
    assert name == file_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "..", "../a", "a\\b", "-a", "a.", "a\u202eb", "%2e%2e%2fa", "a" * 256])
def test_any_other_file_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="file name"):
        file_name(name)


@given(st.text(st.sampled_from("./\\%2eEfF0-~ a训\0\u202e"), max_size=12))
def test_whatever_passes_leads_downwards(path: str) -> None:
    try:
        plain = relative(path)
    except Invalid:
        return

    assert os.path.normpath(f"/root/{plain}") == f"/root/{path}"


def test_a_file_beneath_the_root_is_opened(root: Path) -> None:
    file = open_beneath(root, "datasets/中文/数据.jsonl")

    with os.fdopen(file) as lines:
        assert lines.read() == "lines"


def test_a_file_beneath_the_root_is_measured(root: Path) -> None:
    found = stat_beneath(root, relative("datasets/中文/数据.jsonl"))

    assert found is not None
    assert found.st_size == 5


@pytest.mark.parametrize("path", ["nothing", "datasets/nothing", "nothing/at/all", "datasets/中文/数据.jsonl/below"])
def test_a_missing_file_is_missing(root: Path, path: str) -> None:
    assert stat_beneath(root, path) is None
    with pytest.raises(FileNotFoundError):
        open_beneath(root, path)


def test_the_root_itself_may_be_a_symbolic_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    assert stat_beneath(tmp_path / "link", "datasets/中文/数据.jsonl") is not None


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("key.txt", "../secret/key.txt", "key.txt"),
        ("way", "../secret", "way/key.txt"),
        ("datasets/way", "../../secret", "datasets/way/key.txt"),
        ("inside", "datasets", "inside/中文/数据.jsonl"),
        ("dangling", "nowhere", "dangling"),
        ("loop", "loop", "loop/key.txt"),
    ],
)
def test_no_symbolic_link_is_followed(root: Path, link: str, target: str, path: str) -> None:
    (root / link).symlink_to(target)

    with pytest.raises(Invalid, match="symbolic link"):
        open_beneath(root, path)


@pytest.mark.parametrize("path", ["../secret/key.txt", "datasets/../../secret/key.txt"])
def test_opening_refuses_what_is_not_plain(root: Path, path: str) -> None:
    with pytest.raises(Invalid):
        open_beneath(root, PurePosixPath(path))


def test_only_regular_files_are_opened_and_a_pipe_never_blocks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")

    for path in ("pipe", "socket", "datasets"):
        with pytest.raises(Invalid, match="not a regular file"):
            open_beneath(root, path)
