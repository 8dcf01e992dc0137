"""Plain and packed files are read alike, in little memory, and what cannot be read honestly is said in words."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from domain.errors import Invalid
from infra.files.reading import UNREMARKABLE, open_data

LINES = b"".join(b'{"text": "%d \xe6\x95\xb0\xe6\x8d\xae"}\n' % number for number in range(100_000))
PACKED = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "A.JSONL.GZ": gzip.compress(LINES),
    "a.jsonl.zst": zstandard.compress(LINES),
    "streamed.zst": zstandard.ZstdCompressor().stream_reader(LINES).read(),
    "twice.gz": gzip.compress(LINES[:1000]) + gzip.compress(b"") + gzip.compress(LINES[1000:]),
    "twice.zst": zstandard.compress(LINES[:1000]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(LINES[1000:]),
    "taped.gz": gzip.compress(LINES) + bytes(5000),
}


def read(folder: Path, name: str, content: bytes, *, ratio: int = 100) -> bytes:
    (folder / name).write_bytes(content)
    with open_data(folder, name, ratio=ratio) as file:
        return file.read()


@pytest.mark.parametrize("name", PACKED)
def test_every_way_of_packing_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    assert LINES == read(tmp_path, name, PACKED[name])


@pytest.mark.parametrize("name", PACKED)
def test_it_is_read_line_by_line_too(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name])

    with open_data(tmp_path, name, ratio=100) as file:
        assert LINES.splitlines(keepends=True) == list(file)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "twice.gz", "twice.zst"])
@pytest.mark.parametrize("missing", [1, 9, 3000])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, name: str, missing: int) -> None:
    with pytest.raises(Invalid, match=f"{name} was cut off after .* unpacked bytes; send the whole file"):
        read(tmp_path, name, PACKED[name][:-missing])


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
@pytest.mark.parametrize("content", [LINES, b"no"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(Invalid, match=rf"{name} (cannot be unpacked|was cut off) after 0 "):
        read(tmp_path, name, content)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_what_follows_the_packed_bytes_is_not_passed_over(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="cannot be unpacked after"):
        read(tmp_path, name, PACKED[name] + b"and a word")


def test_a_spoilt_byte_is_found(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        spoilt = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(LINES) if name.endswith("zst") else PACKED[name])
        spoilt[len(spoilt) // 2] ^= 1

        with pytest.raises(Invalid, match="cannot be unpacked after"):
            read(tmp_path, name, bytes(spoilt))


@pytest.mark.parametrize("name", ["bomb.gz", "bomb.zst"])
def test_a_bomb_is_given_up_in_little_memory(tmp_path: Path, name: str) -> None:
    zeros = bytes(2**20)
    with gzip.open(tmp_path / name, "wb") if name.endswith(".gz") else zstandard.open(tmp_path / name, "wb") as bomb:
        for _ in range(200):
            bomb.write(zeros)
    into = bytearray(2**16)
    tracemalloc.start()

    with open_data(tmp_path, name, ratio=100) as file, pytest.raises(Invalid, match="unpacks to more than 100 times its size"):
        sum(iter(lambda: file.readinto(into), 0))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 * 2**20


def test_a_small_file_may_be_as_dense_as_it_likes(tmp_path: Path) -> None:
    assert UNREMARKABLE == len(read(tmp_path, "dense.zst", zstandard.compress(bytes(UNREMARKABLE))))
