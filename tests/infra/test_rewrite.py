"""A file rewritten chunk by chunk is whole, in order, and the same however often it was interrupted."""

import gzip
import io
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from infra.files import rewrite
from infra.files.rewrite import Bad, Chunk, Piece, Rewriting, State, Stopped

SOURCE = b"".join(b"line %d \xe4\xbd\xa0\xe5\xa5\xbd\n" % number for number in range(60))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let little files have many chunks."""
    monkeypatch.setattr(rewrite, "CHUNK_BYTES", 64)
    monkeypatch.setattr(rewrite, "LONGEST_LINE", 200)


@pytest.fixture
def pool() -> Iterator[Executor]:
    """Give two threads in the place of processes."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def shout(chunk: Chunk) -> Piece:
    """Write everything large; a line with a 7 cannot be read."""
    if chunk.too_long:
        return Piece(data=b"", lines=1, changed=0, found={}, bad=[Bad(0, "too long", chunk.data)])
    lines = chunk.data.splitlines(keepends=True)
    bad = [Bad(number, "seven", line) for number, line in enumerate(lines) if b"7" in line]
    kept = [line.upper() for line in lines if b"7" not in line]
    return Piece(data=b"".join(kept), lines=len(lines), changed=len(kept), found={"LINE": {"text": len(kept)}}, bad=bad)


def shout_packed(chunk: Chunk) -> Piece:
    """The same, each piece packed by itself: where it is cut shows in the bytes."""
    piece = shout(chunk)
    return structs.replace(piece, data=gzip.compress(piece.data, mtime=0) if piece.data else b"")


def nothing(_: State) -> None:
    """Hear of a chunk, and let it be."""


def test_every_line_comes_out_in_order_and_the_bad_ones_are_set_aside_with_their_numbers(tmp_path: Path, pool: Executor) -> None:
    rewriting = Rewriting(tmp_path / "out")

    state = rewriting.run(io.BytesIO(SOURCE), shout, pool, 2, nothing)

    expected = [line for line in SOURCE.splitlines(keepends=True) if b"7" not in line]
    numbers = [number for number, line in enumerate(SOURCE.splitlines(), 1) if b"7" in line]
    assert b"".join(expected).upper() == (tmp_path / "out").read_bytes()
    assert (60, len(expected), len(numbers), numbers) == (state.lines, state.changed, state.bad, state.bad_numbers)
    assert {"LINE": {"text": len(expected)}} == state.found
    assert len(numbers) == len(rewriting.quarantine.read_bytes().splitlines())


@settings(max_examples=12, deadline=None)
@given(stops=st.lists(st.integers(1, 3), max_size=4), torn=st.binary(max_size=90))
def test_however_often_it_is_interrupted_the_output_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], torn: bytes
) -> None:
    folder = tmp_path_factory.mktemp("rewrite")
    with ThreadPoolExecutor(2) as pool:
        whole = Rewriting(folder / "whole").run(io.BytesIO(SOURCE), shout, pool, 2, nothing)
        for stop in stops:
            with pytest.raises(Stopped):
                Rewriting(folder / "out").run(io.BytesIO(SOURCE), shout, pool, 2, stopping_after(stop))
            with (folder / "out").open("ab") as file:
                file.write(torn)  # as a power cut leaves it behind the last chunk that was written down

        state = Rewriting(folder / "out").run(io.BytesIO(SOURCE), shout, pool, 2, nothing)

    assert whole == state
    assert (folder / "whole").read_bytes() == (folder / "out").read_bytes()
    assert (folder / "whole.bad").read_bytes() == (folder / "out.bad").read_bytes()


ODD = [b"a\n", b"x" * 63 + b"\n", b"x" * 150 + b"\n", b"\n", b"some words\n", b"x" * 300 + b"\n", b"x" * 30 + b"\n" * 40]


@settings(max_examples=25, deadline=None)
@given(
    lines=st.lists(st.sampled_from(ODD), max_size=12), last=st.sampled_from([b"", b"end", b"y" * 70, b"y" * 250]), stop=st.integers(1, 9)
)
def test_a_packed_output_too_is_the_same_wherever_it_was_interrupted(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], last: bytes, stop: int
) -> None:
    folder, source = tmp_path_factory.mktemp("rewrite"), b"".join(lines) + last
    with ThreadPoolExecutor(2) as pool:
        whole = Rewriting(folder / "whole").run(io.BytesIO(source), shout_packed, pool, 2, nothing)
        with suppress(Stopped):
            Rewriting(folder / "out").run(io.BytesIO(source), shout_packed, pool, 2, stopping_after(stop))

        state = Rewriting(folder / "out").run(Stream(source), shout_packed, pool, 2, nothing)

    assert whole == state
    assert len(source) == state.source
    assert (folder / "whole").read_bytes() == (folder / "out").read_bytes()


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_without_an_end_is_cut_off_and_what_follows_it_is_read(tmp_path: Path, pool: Executor, end: bytes) -> None:
    source = b"first\n" + b"x" * 5_000 + b"\nlast" + end

    state = Rewriting(tmp_path / "out").run(io.BytesIO(source), shout, pool, 2, nothing)

    assert b"FIRST\nLAST" + end == (tmp_path / "out").read_bytes()
    assert (3, 1, [2], len(source)) == (state.lines, state.bad, state.bad_numbers, state.source)


def test_a_source_that_cannot_be_wound_is_read_again_up_to_where_it_was(tmp_path: Path, pool: Executor) -> None:
    with pytest.raises(Stopped):
        Rewriting(tmp_path / "out").run(Stream(SOURCE), shout, pool, 2, stopping_after(4))

    Rewriting(tmp_path / "out").run(Stream(SOURCE), shout, pool, 2, nothing)

    expected = [line for line in SOURCE.splitlines(keepends=True) if b"7" not in line]
    assert b"".join(expected).upper() == (tmp_path / "out").read_bytes()


class Stream(io.BytesIO):
    """Something unpacked while it is read."""

    def seekable(self) -> bool:
        """Say no."""
        return False


def stopping_after(chunks: int) -> "Stopper":
    """Stop behind so many chunks."""
    return Stopper(chunks)


class Stopper:
    """Counts chunks."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, _: State) -> None:
        """Stop when none is left."""
        self.left -= 1
        if self.left == 0:
            raise Stopped
