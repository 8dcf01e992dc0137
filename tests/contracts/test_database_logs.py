"""Stored output on both databases: any page and any time window give what a plain list of all lines would."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from domain.errors import Invalid, NotFound
from domain.paging import Page
from domain.processes.log import CHUNK_BYTES, Line, LogChunk, Written, append
from domain.runs import queries
from infra.db.database import Database
from infra.db.transaction import Tx
from tests.contracts.databases import keep
from tests.things import AT, a_project, a_run

SEEDS = range(3)


def written(seed: int) -> list[Written]:
    """Return what a lively trainer writes: bursts, pauses, blank and huge lines, a clock that is set back, and lines of our own."""
    chance = random.Random(seed)
    at, batches, number = AT, [], 0
    for _ in range(chance.randint(20, 60)):
        at += timedelta(microseconds=chance.choice((-5_000_000, 0, 0, 1, 999, 1_000_000)))
        lines = []
        for _ in range(chance.choice((1, 2, 30, 400))):
            text = chance.choice((b"", b"x" * chance.randint(0, 40), b"\x00\xff\xe4\xb8", b"y" * chance.choice((10, 3000))))
            lines.append(text + b"%d" % number)
            number += 1
        batches.append(Written(lines=lines, at=at, level=chance.choice(("", "", "INFO"))))
    batches.append(Written(lines=[b"z" * (3 * CHUNK_BYTES), b"", b"end"], at=at))
    return batches


def as_a_list(batches: Sequence[Written]) -> list[Line]:
    """Return all lines as a plain list: times never go back."""
    lines: list[Line] = []
    newest = batches[0].at
    for batch in batches:
        newest = max(newest, batch.at)
        lines += [Line(number=number, at=newest, level=batch.level, text=text) for number, text in enumerate(batch.lines, len(lines))]
    return lines


async def store(db: Database, batches: Sequence[Written], owner: str) -> None:
    """Store batch by batch, as a worker does."""

    def put(tx: Tx, some: Sequence[Written]) -> None:
        for batch in some:
            tx.logs.put(append(tx.logs.last(owner), owner, 1, batch))

    half = len(batches) // 2
    await db.run(put, batches[:half])
    await db.run(put, batches[half:])


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_page_of_any_window_is_what_a_plain_list_gives(db: Database, seed: int) -> None:
    project = a_project()
    run, other = a_run(project.id), a_run(project.id, "other")
    await db.run(keep, project, run, other)
    batches = written(seed)
    await store(db, batches, run.id)
    await store(db, batches[:3], other.id)
    lines = as_a_list(batches)
    chance = random.Random(seed)
    moments: list[datetime | None] = [None, AT - timedelta(days=1), AT + timedelta(days=1), lines[0].at, lines[-1].at]
    moments += [line.at + timedelta(microseconds=chance.choice((-1, 0, 1))) for line in chance.sample(lines, 12)]

    def ask(tx: Tx) -> None:
        for _ in range(120):
            page = Page(chance.choice((1, 1, 2, 3, 17, 10**6)), chance.choice((1, 7, 50, 500)))
            start, end = sorted(chance.sample(moments, 2), key=lambda at: at or AT - timedelta(days=2))
            start, end = chance.choice(((start, end), (None, end), (start, None), (end, end)))
            window = [line for line in lines if (start is None or line.at >= start) and (end is None or line.at < end)]
            found = queries.log_page(tx, "p", "run-001", page, start, end)
            assert window[page.offset : page.offset + page.size] == found.lines
            assert len(window) == found.total

    await db.read(ask)


async def test_a_log_that_is_empty_has_empty_pages(db: Database) -> None:
    project = a_project()
    run = a_run(project.id)
    await db.run(keep, project, run)

    pages = [await db.read(queries.log_page, "p", run.id, Page(), *window) for window in ((None, None), (AT, None), (None, AT), (AT, AT))]

    assert [([], 0)] * 4 == [(page.lines, page.total) for page in pages]


async def test_a_window_that_ends_before_it_begins_is_refused(db: Database) -> None:
    project = a_project()
    run = a_run(project.id)
    await db.run(keep, project, run)

    with pytest.raises(Invalid, match="end_time .* is before start_time"):
        await db.read(queries.log_page, "p", run.id, Page(), AT, AT - timedelta(microseconds=1))
    with pytest.raises(NotFound, match="there is no project"):
        await db.read(queries.log_page, "q", run.id, Page(), None, None)
    with pytest.raises(NotFound, match="project p has no run with the id or name r"):
        await db.read(queries.log_page, "p", "r", Page(), None, None)


async def test_chunks_come_back_as_they_were_put_and_the_open_one_replaces_itself(db: Database) -> None:
    first = append(None, "run_1", 1, Written(lines=["你好".encode(), b"\x00\xff"], at=AT, end_byte=9))
    grown = append(first[-1], "run_1", 1, Written(lines=[b"more"], at=AT, first_byte=9, end_byte=14, level="INFO"))
    next_attempt = append(grown[-1], "run_1", 2, Written(lines=[b"again"], at=AT, end_byte=6))

    def put(tx: Tx, chunks: list[LogChunk]) -> None:
        tx.logs.put(chunks)

    for chunks in (first, grown, next_attempt):
        await db.run(put, chunks)

    kept = await db.read(lambda tx: tx.logs.between("run_1", 0, 99))
    assert [*grown, *next_attempt] == kept
    assert next_attempt[-1] == await db.read(lambda tx: tx.logs.last("run_1"))
    assert 4 == await db.read(lambda tx: tx.logs.end("run_1"))
    assert (None, 0, []) == await db.read(lambda tx: (tx.logs.last("run_2"), tx.logs.end("run_2"), tx.logs.between("run_2", 0, 9)))


async def test_a_page_deep_in_a_long_log_touches_the_chunks_it_needs_and_no_other(db: Database) -> None:
    def chunk(number: int) -> LogChunk:
        return append(None, "run_1", 1, Written(lines=[b"%d" % number], at=AT))[0]

    def put(tx: Tx) -> None:
        one = chunk(0)
        rows = [{**tx.logs.stored.row(one), "first_line": number, "first_at": one.first_at + number} for number in range(5_000)]
        tx.logs.connection.execute(tx.logs.stored.table.insert(), rows)

    await db.run(put)

    between, moment = await db.read(
        lambda tx: (tx.logs.between("run_1", 4_000, 4_003), tx.logs.last_begun_before("run_1", chunk(0).first_at + 2_500))
    )

    assert [4_000, 4_001, 4_002] == [each.first_line for each in between]
    assert moment is not None
    assert 2_499 == moment.first_line
