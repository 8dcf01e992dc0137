"""Bytes that nothing needs go after their grace; bytes that something needs, or that just came, never do."""

import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.datasets import actions as datasets
from domain.datasets.dataset import DatasetCreateRequest, Upload
from domain.files import Pinned
from domain.train_configs import actions as train_configs
from domain.transfers import actions as transfers
from domain.transfers.transfer import NewTransfer
from infra.db.database import Database
from infra.files import tidying
from infra.files.arriving import Arriving
from infra.files.store import FileStore
from infra.settings import load
from tests.contracts.databases import keep
from tests.things import a_project, a_run

AT_ONCE = timedelta()
A_DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A store in a directory of its own."""
    return FileStore(tmp_path / "training")


async def stored(store: FileStore, content: bytes, name: str = "t.jsonl") -> Path:
    return (await store.keep(_chunks(content), limit=2**20, name=name)).path


async def added(db: Database, store: FileStore, content: bytes, name: str = "t.jsonl") -> Upload:
    kept = store.kept(await store.keep(_chunks(content), limit=2**20, name=name), name)
    return await db.run(datasets.add_file, "d", kept)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


def age(path: Path, seconds: float = 2 * 24 * 3600) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def blobs(store: FileStore) -> set[bytes]:
    return {path.read_bytes() for path in store.blobs.glob("??/*")}


async def test_what_no_row_needs_goes_after_its_grace(db: Database, store: FileStore) -> None:
    orphan, young = age(await stored(store, b"orphan")), await stored(store, b"young")

    removed = await tidying.remove_unneeded(db, store, A_DAY)

    assert [orphan.relative_to(store.root).as_posix()] == removed
    assert {young.read_bytes()} == blobs(store)


async def test_what_a_file_a_config_or_a_run_needs_stays(db: Database, store: FileStore) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    await added(db, store, b"present", "present")
    old = await added(db, store, b"replaced")
    await db.run(datasets.replace_file, "d", store.kept(await store.keep(_chunks(b"new"), limit=9, name="t.jsonl"), "t.jsonl"))
    pinned = await added(db, store, b"pinned", "pinned")
    project = a_project("p")
    inputs = {"datasets/d/pinned": Pinned(path=pinned.stored_name, size_bytes=6, sha256=pinned.sha256)}
    await db.run(keep, project, a_run(project.id, status="failed", inputs=inputs))
    taken_back = await added(db, store, b"taken back", "taken")
    for upload in (pinned, taken_back):
        await db.run(datasets.abort, upload.id)
    config = store.kept(await store.keep(_chunks(b"a: 1"), limit=9, name="a.yaml"), "a.yaml")
    await db.run(train_configs.upload, config, {"a": 1})
    for path in store.blobs.glob("??/*"):
        age(path)

    assert [] == await tidying.remove_unneeded(db, store, A_DAY)
    assert [taken_back.stored_name] == await tidying.remove_unneeded(db, store, AT_ONCE)
    assert {b"present", b"replaced", b"new", b"pinned", b"a: 1"} == blobs(store)
    await db.run(datasets.abort, old.id)
    await db.run(train_configs.delete_current)
    assert {old.stored_name, config.stored_name} == set(await tidying.remove_unneeded(db, store, AT_ONCE))


async def test_bytes_that_come_again_while_they_are_removed_stay(db: Database, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = age(await stored(store, b"again"))
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        # The upload of the same bytes is through between the question to the rows and the removal.
        self.unlink()
        self.write_bytes(b"again")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)

    assert [] == await tidying.remove_unneeded(db, store, A_DAY)
    assert b"again" == path.read_bytes()
    assert [] == list(store.incoming.iterdir())


async def test_what_a_crash_left_aside_goes_back(db: Database, store: FileStore) -> None:
    path = await stored(store, b"needed")
    path.rename(store.incoming / f"{path.name}{tidying.ASIDE}")

    await tidying.remove_unneeded(db, store, A_DAY)

    assert b"needed" == path.read_bytes()
    assert [] == list(store.incoming.iterdir())


async def test_transfers_that_come_no_further_expire_and_files_of_none_are_swept(db: Database, store: FileStore) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))
    arriving = Arriving(store, most_bytes=100)
    transfer = await arriving.begin(db, "d", NewTransfer(name="a", length=3))
    going_on, orphan = arriving.path_of(transfer.id), store.incoming / "x.arriving"
    for path in (going_on, orphan):
        path.write_bytes(b"01")
        age(path)

    await tidying.tidy(db, arriving, load({}))
    assert [going_on] == list(store.incoming.iterdir())
    await tidying.tidy(db, arriving, load({"TUNEYARD_UPLOAD_EXPIRY_SECONDS": "0.000001"}))

    assert [] == list(store.incoming.iterdir())
    assert [] == await db.read(transfers.under_way, "d")
