"""Datasets, their files and training configs as rows, on both databases."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from domain.datasets import actions as datasets
from domain.datasets.dataset import DatasetCreateRequest
from domain.errors import Conflict
from domain.ids import UploadId
from domain.paging import Page
from domain.train_configs import actions as train_configs
from infra.db.database import Database
from tests.contracts.databases import events, keep
from tests.things import AT, a_dataset, an_upload, kept


async def test_a_dataset_comes_back_as_it_was_kept(db: Database) -> None:
    dataset = a_dataset("对话 🎉", type="chat", description="一", task_type="sft", metadata={"z": {"b": 1, "a": None}, "a": [1, "二"]})

    await db.run(keep, dataset)

    by_name, by_id, nothing = await db.read(lambda tx: [tx.datasets.find(ref) for ref in (dataset.name, dataset.id, "对话")])
    assert dataset == by_name == by_id
    assert by_id is not None
    assert ["z", "a"] == list(by_id.metadata)
    assert nothing is None


async def test_two_datasets_cannot_bear_one_name(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))

    with pytest.raises(Conflict, match="a dataset named d already exists"):
        await db.run(datasets.create, DatasetCreateRequest(name="d"))


async def test_datasets_are_listed_newest_first(db: Database) -> None:
    made = [a_dataset(str(number), created_at=AT + timedelta(seconds=number)) for number in range(5)]
    await db.run(keep, *made)

    page = await db.read(lambda tx: tx.datasets.page(Page(2, 2)))

    assert (["2", "1"], 5) == ([dataset.name for dataset in page.items], page.total)


async def test_a_file_has_its_name_until_it_is_aborted(db: Database) -> None:
    one, two = a_dataset("one"), a_dataset("two")
    first, elsewhere = an_upload(one), an_upload(two)
    later = an_upload(one, "b.jsonl", uploaded_at=AT + timedelta(microseconds=1))

    await db.run(keep, one, two, later, first, elsewhere)
    with pytest.raises(Conflict, match="already has a file train.jsonl"):
        await db.run(keep, an_upload(one))

    assert [first, later] == await db.read(lambda tx: tx.datasets.uploads(one.id))
    named = await db.read(lambda tx: tx.datasets.uploads_named("train.jsonl"))
    assert {(one.id, first.id), (two.id, elsewhere.id)} == {(dataset.id, upload.id) for dataset, upload in named}

    await db.run(lambda tx: tx.datasets.save_upload(replace(first, removed_in=2, aborted_at=AT)))
    again = an_upload(one)
    await db.run(keep, again)

    assert [later.id, again.id] == [each.id for each in await db.read(lambda tx: tx.datasets.uploads(one.id))][::-1]
    aborted = await db.read(lambda tx: tx.datasets.upload(first.id))
    assert aborted is not None
    assert AT == aborted.aborted_at
    assert await db.read(lambda tx: tx.datasets.upload(UploadId("none"))) is None


async def test_the_same_bytes_sent_again_are_the_same_upload(db: Database) -> None:
    await db.run(datasets.create, DatasetCreateRequest(name="d"))

    at_once = await asyncio.gather(*(db.run(datasets.add_file, "d", kept("t.jsonl")) for _ in range(6)))
    again = await db.run(datasets.add_file, "d", kept("t.jsonl"))

    assert [again] * 6 == at_once
    with pytest.raises(Conflict, match="already has another file t.jsonl"):
        await db.run(datasets.add_file, "d", kept("t.jsonl", "01"))
    assert ["dataset.created", "upload.added"] == [event.kind for event in await events(db, 2)]


async def test_a_config_is_current_until_the_next_one_or_until_it_is_deleted(db: Database) -> None:
    first = await db.run(train_configs.upload, kept("a.yaml", "1"), {"z": 1, "dataset": "datasets/d/t", "learning_rate": 2e-5})
    second = await db.run(train_configs.upload, kept("a.yaml", "2"), {"dataset": "datasets/e/t"})
    other = await db.run(train_configs.upload, kept("b.yaml", "3"), {"dataset": "datasets/d/t"})

    assert [1, 2, 1] == [first.version, second.version, other.version]
    assert other == await db.read(train_configs.current)
    second = replace(second, current=False)
    assert second == await db.read(train_configs.get, "a.yaml")
    assert [second, other] == await db.read(train_configs.list_configs)
    assert other == await db.read(lambda tx: tx.train_configs.naming_dataset(["datasets/d/t"]))
    assert second == await db.read(train_configs.resolve, "configs/a.yaml")
    assert await db.read(train_configs.resolve, "a.yaml") is None

    await db.run(train_configs.delete_current)

    assert await db.read(lambda tx: tx.train_configs.current()) is None
    assert await db.read(lambda tx: tx.train_configs.newest("b.yaml")) is None
    assert ["a.yaml"] == [config.filename for config in await db.read(train_configs.list_configs)]
    assert 2 == (await db.run(train_configs.upload, kept("b.yaml", "4"), {})).version


async def test_configs_uploaded_at_once_are_numbered_and_the_last_is_current(db: Database) -> None:
    uploads = [db.run(train_configs.upload, kept(f"{number % 2}.yaml", str(number)), {}) for number in range(8)]

    configs = await asyncio.gather(*uploads)

    for name in ("0.yaml", "1.yaml"):
        assert [1, 2, 3, 4] == sorted(config.version for config in configs if config.filename == name)
    current = await db.read(train_configs.current)
    assert current.id in {config.id for config in configs}
