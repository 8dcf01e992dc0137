"""Datasets over HTTP: registered, filled file by file, and nothing kept that was refused."""

import gzip
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace

from infra.settings import Settings
from tests.conftest import serving
from tests.things import SAMPLES

UUID = "93f22d88-9d39-4f71-a3b1-0f41d396a4f7"


async def created(api: httpx.AsyncClient, name: str, **fields: Any) -> str:
    answer = await api.post("/v1/datasets", json={"name": name} | fields)
    assert 201 == answer.status_code, answer.text
    dataset: str = answer.json()["id"]
    return dataset


async def put(api: httpx.AsyncClient, dataset: str, content: bytes, name: str = "train.jsonl") -> httpx.Response:
    return await api.put(f"/v1/datasets/{dataset}/files", files={"file": (name, content)})


def on_disk(settings: Settings) -> list[bytes]:
    return sorted(path.read_bytes() for path in Path(settings.training_path).rglob("*") if path.is_file())


async def test_a_dataset_is_shown_by_id_and_by_name(api: httpx.AsyncClient) -> None:
    said = {"type": "text2text", "description": "object-storage", "task_type": "sft", "metadata": {"language": "zh", "records": 1024}}

    dataset = await created(api, "语料 v1", **said)
    upload = (await put(api, dataset, b"{}\n", "训练.jsonl")).json()

    shown = (await api.get(f"/v1/datasets/{dataset}")).json()
    assert {"id": dataset, "name": "语料 v1", "status": "ready", "train_config": None} | said == {
        field: shown[field] for field in ("id", "name", "status", "train_config", *said)
    }
    assert {"files_count": 1} == shown["upload_progress"]
    assert [(upload["upload_id"], "训练.jsonl", 3)] == [(each["upload_id"], each["name"], each["bytes"]) for each in shown["files"]]
    assert shown == (await api.get("/v1/datasets/语料 v1")).json()
    assert [shown] == (await api.get("/v1/datasets")).json()


async def test_a_dataset_without_a_file_is_empty(api: httpx.AsyncClient) -> None:
    await created(api, "d")

    shown = (await api.get("/v1/datasets/d")).json()

    assert ("empty", [], 0) == (shown["status"], shown["files"], shown["upload_progress"]["files_count"])


async def test_datasets_are_listed_page_by_page(api: httpx.AsyncClient) -> None:
    for number in range(3):
        await created(api, f"d{number}")

    first = await api.get("/v1/datasets?page_size=2")
    second = await api.get(first.links["next"]["url"])

    assert ["d2", "d1"] == [each["name"] for each in first.json()]
    assert ["d0"] == [each["name"] for each in second.json()]
    assert "3" == first.headers["X-Total-Count"]


async def test_a_name_that_cannot_be_part_of_a_path_is_refused(api: httpx.AsyncClient) -> None:
    for name in ("", " ", "a/b", ".", "..", " a", "a ", "a\nb", "a\u202eb", "x" * 121, UUID, "a@3"):
        answer = await api.post("/v1/datasets", json={"name": name})

        assert (400, ["name"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), ascii(name)


async def test_a_name_in_use_is_a_conflict(api: httpx.AsyncClient) -> None:
    await created(api, "d")

    assert 409 == (await api.post("/v1/datasets", json={"name": "d"})).status_code


async def test_an_unknown_dataset_is_not_found(api: httpx.AsyncClient) -> None:
    shown = await api.get(f"/v1/datasets/{UUID}")
    uploaded = await put(api, UUID, b"x")

    assert (404, 404) == (shown.status_code, uploaded.status_code)


async def test_the_same_bytes_under_the_same_name_are_the_same_upload(api: httpx.AsyncClient, settings: Settings) -> None:
    await created(api, "d")

    first = await put(api, "d", b"{}\n")
    again = await put(api, "d", b"{}\n")

    assert first.json() == again.json()
    assert [b"{}\n"] == on_disk(settings)


async def test_other_bytes_under_the_same_name_are_a_conflict(api: httpx.AsyncClient) -> None:
    await created(api, "d")
    first = (await put(api, "d", b"{}\n")).json()

    other = await put(api, "d", b"[]\n")

    assert (409, first["upload_id"]) == (other.status_code, other.json()["upload"])
    assert "replace it deliberately (?replace=true)" in other.json()["detail"]
    assert 1 == len((await api.get("/v1/datasets/d")).json()["files"])


async def test_a_file_too_large_is_refused_and_nothing_is_kept(settings: Settings) -> None:
    async with serving(replace(settings, max_small_file_bytes=1000)) as api:
        await created(api, "d")

        exact = await put(api, "d", b"x" * 1000, "exact.jsonl")
        larger = await put(api, "d", b"x" * 1001, "larger.jsonl")

        assert (200, 413) == (exact.status_code, larger.status_code)
        assert 1000 == larger.json()["limit_bytes"]
        assert [b"x" * 1000] == on_disk(settings)
        assert ["exact.jsonl"] == [each["name"] for each in (await api.get("/v1/datasets/d")).json()["files"]]


async def test_a_file_name_that_climbs_is_refused(api: httpx.AsyncClient, settings: Settings) -> None:
    await created(api, "d")

    for name in ("../a.jsonl", "/etc/passwd", "..", "a%2fb", "a\u202eb", "a."):
        assert 400 == (await put(api, "d", b"x", name)).status_code, ascii(name)
    assert [] == on_disk(settings)


async def test_an_aborted_upload_frees_its_name_and_leaves_its_bytes(api: httpx.AsyncClient, settings: Settings) -> None:
    await created(api, "d")
    first = (await put(api, "d", b"{}\n")).json()["upload_id"]

    aborted = await api.delete(f"/v1/uploads/{first}")
    again = await api.delete(f"/v1/uploads/{first}")
    second = await put(api, "d", b"[]\n")

    assert {"upload_id": first, "status": "aborted"} == aborted.json() == again.json()
    assert [second.json()["upload_id"]] == [each["upload_id"] for each in (await api.get("/v1/datasets/d")).json()["files"]]
    assert [b"[]\n", b"{}\n"] == on_disk(settings)


async def test_an_unknown_upload_is_not_found(api: httpx.AsyncClient) -> None:
    assert 404 == (await api.delete(f"/v1/uploads/{UUID}")).status_code


async def test_a_dataset_shows_the_config_that_names_it(api: httpx.AsyncClient) -> None:
    await created(api, "d")
    await put(api, "d", b"{}\n")

    for path in ("datasets/train.jsonl", "datasets/d/train.jsonl"):
        await api.put("/v1/train-config", files={"file": (f"{len(path)}.yaml", f"task_type: sft\ndataset: {path}\n".encode())})

        assert f"{len(path)}.yaml" == (await api.get("/v1/datasets/d")).json()["train_config"]["filename"]


async def test_a_path_that_could_mean_several_files_or_none_is_refused(api: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await created(api, name, task_type="sft")
        await put(api, name, b"{}\n")
    await put(api, "a", b"{}\n", "more.jsonl")
    await created(api, "empty")
    await api.post("/projects", json={"name": "p"})
    candidates = {
        "datasets/train.jsonl": ["datasets/a/train.jsonl", "datasets/b/train.jsonl"],
        "a": ["datasets/a/train.jsonl", "datasets/a/more.jsonl"],
        "datasets/a/nope.jsonl": None,
        "datasets/nope/train.jsonl": None,
        "empty": None,
    }

    for ref, expected in candidates.items():
        answer = await api.post("/projects/p/runs", json={"dataset": ref})

        assert (400, expected) == (answer.status_code, answer.json().get("candidates")), ref
        assert ["dataset"] == [each["field"] for each in answer.json()["errors"]]


async def test_a_file_is_replaced_deliberately_and_the_version_before_can_be_read(api: httpx.AsyncClient) -> None:
    await created(api, "d")
    first = (await put(api, "d", b"one\n")).json()["upload_id"]
    replaced = await api.put("/v1/datasets/d/files?replace=true", files={"file": ("train.jsonl", b"two\n")})

    history = await api.get("/v1/datasets/d/versions", headers={"Accept-Language": "en"})
    before = (await api.get("/v1/datasets/d/versions/1")).json()
    contents = [(await api.get(f"/v1/datasets/d/files/{upload}/content")).content for upload in (first, replaced.json()["upload_id"])]

    assert [(2, "Replaced", first), (1, "Added", None)] == [
        (each["number"], each["change_label"], each["replaces"]) for each in history.json()
    ]
    assert (["local", "local"], "2") == ([each["by"] for each in history.json()], history.headers["X-Total-Count"])
    assert (1, [first]) == (before["number"], [each["upload_id"] for each in before["files"]])
    assert [b"one\n", b"two\n"] == contents
    assert 404 == (await api.get("/v1/datasets/d/versions/3")).status_code


async def test_a_file_is_downloaded_whole_or_in_part(api: httpx.AsyncClient) -> None:
    await created(api, "d")
    upload = (await put(api, "d", b"0123456789", "数据.jsonl")).json()["upload_id"]
    path = f"/v1/datasets/d/files/{upload}/content"

    whole = await api.get(path)
    part = await api.get(path, headers={"Range": "bytes=2-4", "If-Range": whole.headers["ETag"]})
    beyond = await api.get(path, headers={"Range": "bytes=10-"})

    assert (200, b"0123456789", '"84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"') == (
        whole.status_code,
        whole.content,
        whole.headers["ETag"],
    )
    assert "%E6%95%B0%E6%8D%AE.jsonl" in whole.headers["Content-Disposition"]
    assert (206, b"234", "bytes 2-4/10") == (part.status_code, part.content, part.headers["Content-Range"])
    assert 416 == beyond.status_code
    assert "10" == (await api.head(path)).headers["Content-Length"]
    await created(api, "other")
    assert 404 == (await api.get(f"/v1/datasets/other/files/{upload}/content")).status_code
    await api.delete(f"/v1/uploads/{upload}")
    assert 409 == (await api.get(path)).status_code


async def test_a_dataset_is_deleted_once_nothing_uses_it(api: httpx.AsyncClient) -> None:
    await created(api, "d", task_type="sft")
    await put(api, "d", b"{}\n")
    await api.post("/projects", json={"name": "p", "dataset_name": "datasets/d"})

    refused = await api.delete("/v1/datasets/d")
    await api.patch("/projects/p", json={"status": "archived"})
    deleted = await api.delete("/v1/datasets/d")

    assert (409, ["p"], []) == (refused.status_code, refused.json()["projects"], refused.json()["runs"])
    assert (200, "deleted") == (deleted.status_code, deleted.json()["status"])
    assert [404, 404] == [(await api.request(method, "/v1/datasets/d")).status_code for method in ("GET", "DELETE")]


async def test_a_run_by_alias_names_the_file_and_the_version_it_froze(api: httpx.AsyncClient) -> None:
    await created(api, "d", task_type="sft")
    await put(api, "d", SAMPLES["sft"])
    await api.put("/v1/datasets/d/files?replace=true", files={"file": ("train.jsonl", SAMPLES["sft"] * 2)})
    await api.post("/projects", json={"name": "p", "dataset_name": "datasets/d"})

    now = await api.post("/projects/p/runs")
    before = await api.post("/projects/p/runs", json={"dataset": "d@1"})

    assert ["datasets/d/train.jsonl", "datasets/d@1/train.jsonl"] == [each.json()["dataset"] for each in (now, before)]
    assert [now.json()["dataset"], before.json()["dataset"]] == [each.json()["config"]["dataset"] for each in (now, before)]


async def test_a_look_into_a_file_shows_first_random_and_problem_lines(api: httpx.AsyncClient) -> None:
    await created(api, "d", task_type="sft")
    good = '{"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]}'
    await put(api, "d", "\n".join([good] * 30 + ["{broken"] + [good] * 9).encode(), "a.jsonl")
    upload = (await put(api, "d", gzip.compress(f"{good}\n".encode() * 3), "b.jsonl.gz")).json()["upload_id"]

    first = (await api.get("/v1/datasets/d/preview?file=a.jsonl&n=2")).json()
    some = (await api.get("/v1/datasets/d/preview?file=b.jsonl.gz&mode=random&n=50")).json()
    wrong = (await api.get("/v1/datasets/d/preview?file=a.jsonl&mode=problems&n=3", headers={"Accept-Language": "en"})).json()

    assert [(1, good, []), (2, good, [])] == [(each["line"], each["text"], each["problems"]) for each in first["items"]]
    assert ("b.jsonl.gz", upload, [1, 2, 3], True) == (
        some["file"],
        some["upload_id"],
        [each["line"] for each in some["items"]],
        some["whole"],
    )
    assert [2, 3, 31] == [each["line"] for each in wrong["items"]]
    assert "{broken" == wrong["items"][2]["text"]
    assert "line 31" in wrong["items"][2]["problems"][0]
    assert [400, 400, 400, 404] == [
        (await api.get(f"/v1/datasets/d/preview?{query}")).status_code for query in ("", "file=a.jsonl&n=0", "mode=odd", "file=nope")
    ]
