"""Output as it is stored: whatever comes in whatever pieces, it reads back as one plain list of lines."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.processes.log import CHUNK_BYTES, Line, LogChunk, Written, append, lines_of, micros, moment
from tests.things import AT

OWNER = "run_1"
LINES = st.lists(
    st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")) | st.sampled_from([b"", b"x" * 1000, b"y" * 30_000, b"z" * 150_000]),
    max_size=12,
)
BATCHES = st.lists(
    st.tuples(
        LINES, st.integers(-5_000_000, 5_000_000) | st.just(0), st.sampled_from(["", "INFO"]), st.integers(0, 9).map(lambda n: n == 0)
    ),
    max_size=25,
)
Batch = tuple[list[bytes], int, str, bool]


def stored(batches: Sequence[Batch]) -> tuple[list[LogChunk], list[Line]]:
    """Store the batches, and keep the same lines as a plain list."""
    chunks: dict[int, LogChunk] = {}
    plain: list[Line] = []
    last, at, newest, attempt, byte = None, AT, AT, 1, 0
    for lines, later, level, restarted in batches:
        at += timedelta(microseconds=later)
        attempt, byte = (attempt + 1, 0) if restarted else (attempt, byte)
        end = byte + sum(len(line) + 1 for line in lines)
        for chunk in append(last, OWNER, attempt, Written(lines=lines, at=at, first_byte=byte, end_byte=end, level=level)):
            chunks[chunk.first_line] = last = chunk
        if lines:
            newest = max(newest, at) if plain else at
        plain += [Line(number=number, at=newest, level=level, text=text) for number, text in enumerate(lines, len(plain))]
        byte = end
    return list(chunks.values()), plain


@given(BATCHES)
@settings(deadline=None, max_examples=80)
def test_what_was_written_is_read_back_line_by_line(batches: list[Batch]) -> None:
    chunks, plain = stored(batches)

    assert plain == lines_of(chunks, 0, len(plain) + 1)


@given(BATCHES)
@settings(deadline=None, max_examples=60)
def test_chunks_are_dense_small_and_in_order(batches: list[Batch]) -> None:
    chunks, plain = stored(batches)

    following = 0
    for chunk in chunks:
        texts = chunk.texts()
        assert following == chunk.first_line
        assert len(texts) == chunk.lines > 0
        assert len(b"\n".join(texts)) == chunk.text_bytes < CHUNK_BYTES + max(map(len, texts)) + 1
        assert chunk.first_at == chunk.marks[0].at <= chunk.last_at == chunk.marks[-1].at
        assert 0 == chunk.marks[0].line
        assert chunk.first_byte <= chunk.end_byte
        following += chunk.lines
    assert len(plain) == following
    times = [(chunk.first_at, chunk.last_at) for chunk in chunks]
    assert [at for both in times for at in both] == sorted(at for both in times for at in both)


@given(BATCHES, st.integers(0, 320), st.integers(0, 320))
@settings(deadline=None, max_examples=60)
def test_any_page_is_what_a_plain_list_gives(batches: list[Batch], first: int, stop: int) -> None:
    chunks, plain = stored(batches)
    needed = [chunk for chunk in chunks if chunk.first_line + chunk.lines > first and chunk.first_line < stop]

    assert plain[first:stop] == lines_of(needed, first, stop)


@given(BATCHES, st.data())
@settings(deadline=None, max_examples=60)
def test_the_first_line_of_a_moment_is_what_a_plain_list_gives(batches: list[Batch], data: st.DataObject) -> None:
    chunks, plain = stored(batches)
    times = [micros(line.at) for line in plain]
    nearby = sorted({at + offset for at in times for offset in (-1, 0, 1)}) or [0]
    at = data.draw(st.sampled_from(nearby))

    begun = [chunk for chunk in chunks if chunk.first_at < at]
    found = begun[-1].line_seen_at(at) if begun else 0

    assert bisect_left(times, at) == found


@given(BATCHES)
@settings(deadline=None, max_examples=30)
def test_an_attempt_begins_a_chunk_of_its_own(batches: list[Batch]) -> None:
    chunks, plain = stored(batches)

    attempts = [chunk.attempt for chunk in chunks]
    assert attempts == sorted(attempts)
    assert len(plain) == sum(chunk.lines for chunk in chunks)


def test_a_clock_that_was_set_back_does_not_turn_the_log_around() -> None:
    first = append(None, OWNER, 1, Written(lines=[b"a"], at=AT))
    second = append(first[-1], OWNER, 1, Written(lines=[b"b"], at=AT - timedelta(hours=1)))

    assert [AT, AT] == [line.at for line in lines_of(second, 0, 9)]


def test_nothing_written_is_no_chunk() -> None:
    assert [] == append(None, OWNER, 1, Written(lines=[], at=AT))


def test_an_empty_line_is_a_line() -> None:
    (chunk,) = append(None, OWNER, 1, Written(lines=[b""], at=AT))
    (grown,) = append(chunk, OWNER, 1, Written(lines=[b"", b""], at=AT))

    assert [b"", b"", b""] == [line.text for line in lines_of([grown], 0, 9)]


def test_a_moment_is_kept_to_the_microsecond() -> None:
    for at in (AT, AT.replace(microsecond=0), AT.replace(microsecond=999_999), AT.replace(year=1969), AT.replace(year=9999)):
        assert at == moment(micros(at))


def test_lines_of_one_moment_share_one_mark() -> None:
    (chunk,) = append(None, OWNER, 1, Written(lines=[b"x"], at=AT))
    for _ in range(500):
        (chunk,) = append(chunk, OWNER, 1, Written(lines=[b"x"], at=AT))

    assert 1 == len(chunk.marks)
    assert 501 == chunk.lines
