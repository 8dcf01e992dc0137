"""The history of datasets as rows: numbered without a gap, whoever changes them at once, and told for files of before too."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.datasets import actions as datasets
from domain.datasets.dataset import DatasetCreateRequest
from domain.datasets.references import resolve
from domain.errors import Conflict, Invalid, NotFound
from domain.files import Pinned
from domain.paging import Page
from infra.db.database import Database
from infra.db.migrate import config
from infra.db.url import read
from tests.contracts.databases import keep, opened, told
from tests.things import a_project, a_run, kept


async def test_every_change_of_the_files_is_the_next_version(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    first = await db.run(datasets.add_file, "d", kept("a", "1"))
    await db.run(datasets.add_file, "d", kept("b", "2"))
    second = await db.run(datasets.replace_file, "d", kept("a", "3"))
    await db.run(datasets.add_file, "d", kept("a", "3"))
    await db.run(datasets.replace_file, "d", kept("a", "3"))
    for _ in range(2):
        await db.run(datasets.abort, second.id)

    history = (await db.read(datasets.versions, "d", Page(1, 50))).items
    held = [[each.sha256 for each in (await db.read(datasets.version, "d", number))[1]] for number in (1, 2, 3, 4)]

    assert [(4, "removed", "a"), (3, "replaced", "a"), (2, "added", "b"), (1, "added", "a")] == [
        (v.number, v.change, v.name) for v in history
    ]
    assert (first.id, "tester") == (history[1].replaces, history[1].by)
    assert [["1"], ["1", "2"], ["2", "3"], ["2"]] == held
    assert 4 == (await db.read(datasets.get, "d")).version
    with pytest.raises(NotFound, match="dataset d has no version 5; its newest is 4"):
        await db.read(datasets.version, "d", 5)


async def test_a_replaced_file_can_be_had_until_it_is_taken_back(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    first = await db.run(datasets.add_file, "d", kept("a", "1"))
    await db.run(datasets.replace_file, "d", kept("a", "2"))
    assert first.id == (await db.read(datasets.file, "d", first.id)).id

    await db.run(datasets.abort, first.id)

    with pytest.raises(Conflict, match="a was taken back at"):
        await db.read(datasets.file, "d", first.id)
    assert 2 == (await db.read(datasets.get, "d")).version


async def test_changes_at_once_are_numbered_without_a_gap(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    adding = [db.run(datasets.add_file, "d", kept(str(number), str(number))) for number in range(5)]

    await asyncio.gather(*adding, *(db.run(datasets.replace_file, "d", kept("same", f"s{number}")) for number in range(5)))

    history = (await db.read(datasets.versions, "d", Page(1, 50))).items
    assert list(range(10, 0, -1)) == [each.number for each in history]
    assert 6 == len(await db.read(lambda tx: tx.datasets.uploads(history[0].dataset_id)))


async def test_a_name_means_one_file_of_one_version_or_says_which_it_could_be(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    await db.run(datasets.create, DatasetCreateRequest(name="two"))
    old = await db.run(datasets.add_file, "d", kept("a", "1"))
    new = await db.run(datasets.replace_file, "d", kept("a", "2"))
    await db.run(datasets.add_file, "two", kept("x", "3"))
    await db.run(datasets.add_file, "two", kept("y", "4"))
    meanings = {
        **dict.fromkeys(("d", "datasets/d"), ("datasets/d/a", new.id)),
        "datasets/d/a": ("datasets/d/a", new.id),
        "datasets/a": ("datasets/a", new.id),
        **dict.fromkeys(("d@1", "datasets/d@1", "datasets/d@1/a"), ("datasets/d@1/a", old.id)),
        f"datasets/{new.dataset_id}@2": ("datasets/d@2/a", new.id),
        "datasets/two@1": ("datasets/two@1/x", None),
        "datasets/nope": None,
        "datasets/d@1/nope": None,
        "a": None,
        "other/d/a": None,
    }

    for ref, meaning in meanings.items():
        found = await db.read(resolve, ref)
        assert meaning is None or found is not None, ref
        assert (meaning and meaning[0]) == (found and found.path), ref
        assert not (meaning and meaning[1]) or (found and found.upload.id) == meaning[1], ref
    for ref in ("two", "datasets/two", "datasets/two@2"):
        with pytest.raises(Invalid, match=r"could be any of datasets/two(@2)?/x, datasets/two(@2)?/y"):
            await db.read(resolve, ref)
    with pytest.raises(Invalid, match="dataset d has no version 9; its newest is 2"):
        await db.read(resolve, "datasets/d@9")
    await db.run(datasets.abort, old.id)
    with pytest.raises(Invalid, match="a was taken back at"):
        await db.read(resolve, "datasets/d@1")


async def test_a_dataset_in_use_is_not_deleted_and_says_by_whom(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    await db.run(datasets.add_file, "d", kept("a", "1"))
    using = [a_project(str(number), dataset_name=said) for number, said in enumerate(("d", "datasets/d@1", "datasets/d/a", "datasets/a"))]
    others = [a_project("other", dataset_name="datasets/d2/a"), a_project("old", dataset_name="d", status="archived")]
    pinned = Pinned(path="store/1", size_bytes=1, sha256="1")
    runs = [
        a_run(others[0].id, "living", dataset="datasets/d/a", inputs={"d": pinned}),
        a_run(others[0].id, "over", dataset="d", status="failed"),
    ]
    await db.run(keep, *using, *others, *runs)

    with pytest.raises(Conflict, match="dataset d is in use by project 0, 1, 2, 3 and run other/living; give those") as refused:
        await db.run(datasets.delete, "d")

    assert {"projects": ["0", "1", "2", "3"], "runs": ["other/living"]} == refused.value.facts


async def test_a_deleted_dataset_leaves_its_name_and_only_pinned_bytes(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    for name, content in (("a", "1"), ("b", "2")):
        await db.run(datasets.add_file, "d", kept(name, content))
    pinned = Pinned(path="store/1", size_bytes=1, sha256="1")
    project = a_project("p")
    await db.run(keep, project, a_run(project.id, status="failed", inputs={"d": pinned}))
    await db.run(keep, a_run(project.id, "again", status="failed", inputs={"d": pinned}))

    gone = await db.run(datasets.delete, "d")

    assert await db.read(resolve, "datasets/a") is None
    assert 0 == (await db.run(datasets.create, DatasetCreateRequest(name="d"))).version
    later = (await db.run(lambda tx: tx.now)) + timedelta(seconds=1)
    assert [] == await db.read(lambda tx: tx.blobs.unneeded(["store/1", "store/2"], gone.created_at))
    assert ["store/2"] == await db.read(lambda tx: tx.blobs.unneeded(["store/1", "store/2"], later))


async def test_the_history_of_files_of_before_is_told(database_url: str) -> None:
    await _as_before(database_url)

    async with opened(database_url) as db:
        history = (await db.read(datasets.versions, "d", Page(1, 9))).items
        held = [[each.id for each in (await db.read(datasets.version, "d", number))[1]] for number in (1, 2, 3)]
        unneeded = await db.read(lambda tx: tx.blobs.unneeded(["blobs/1", "blobs/2", "blobs/3"], tx.now))

    assert [(3, "added", "me"), (2, "removed", "unknown"), (1, "added", "unknown")] == [
        (each.number, each.change, each.by) for each in history
    ]
    assert [["one"], [], ["two"]] == held
    assert ["blobs/3"] == unneeded


BEFORE = """
INSERT INTO datasets (id, name, metadata, created_at) VALUES ('ds', 'd', '{}', '2025-11-20 08:00:00.000000');
INSERT INTO uploads (id, dataset_id, name, sha256, stored_name, bytes, uploaded_at, aborted_at) VALUES
('one', 'ds', 't', '1', 'blobs/1', 1, '2025-11-20 08:01:00.000000', '2025-11-20 08:02:00.000000'),
('two', 'ds', 't', '2', 'blobs/2', 1, '2025-11-20 08:03:00.000000', NULL);
INSERT INTO events (xid, at, actor, kind, subject, data) VALUES (0, '2025-11-20 08:03:00.000000', 'me', 'upload.added', 'two', '{}');
INSERT INTO runs (id, project_id, name, status, attempt, progress, hyperparameters, resources, priority, labels, start_command, config,
inputs, metrics, gpus, created_at, updated_at) VALUES ('run', 'p', 'r', 'failed', 1, 0, '{}', '{}', 0, '{}', 'true', '{}',
'{"datasets/d/t": {"path": "blobs/1", "size_bytes": 1, "sha256": "1"}, "laid": {"path": "blobs/3", "size_bytes": 1, "mtime_ns": 1}}',
'{}', '[]', '2025-11-20 08:01:30.000000', '2025-11-20 08:01:30.000000');
"""
"""A file that a run pinned and that was taken back, and another one under its name, before versions were told."""


async def _as_before(database_url: str) -> None:
    """Lay down a database as a server of the third migration left it."""
    url = read(database_url)
    if url.postgresql:
        await told(database_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        engine = create_async_engine(url.url, connect_args=url.connect_args, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(lambda each: command.upgrade(config(each), "0003"))
        await told(database_url, BEFORE)
        return
    Path(url.url.database or "").unlink()
    with create_engine(url.url, poolclass=NullPool).begin() as connection:
        command.upgrade(config(connection), "0003")
    with closing(sqlite3.connect(url.url.database or "")) as database:
        database.executescript(BEFORE)
