"""A request with an Idempotency-Key is done once, however often it is sent and whatever happened meanwhile; on both databases."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.problems import MEDIA_TYPE
from domain.runs.artifact import ArtifactType
from infra.settings import Settings, load
from tests.api.test_launch import furnish
from tests.contracts.databases import keep, opened
from tests.things import SAMPLES, a_run, an_artifact


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Give settings for an API in this process, once for each kind of database."""
    return load({"HOST_TRAINING_PATH": str(tmp_path / "training"), "TRAINING_DB_URL": database_url, "TUNEYARD_EXECUTOR": "local"})


def keyed(key: str, **headers: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **headers}


async def names(api: httpx.AsyncClient) -> list[str]:
    return [run["name"] for run in (await api.get("/projects/p/runs")).json()]


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["Content-Type"] == again.headers["Content-Type"]
    assert (None, "true") == tuple(each.headers.get("Idempotency-Replayed") for each in (first, again))


async def test_a_repeated_launch_gets_the_first_answer_byte_for_byte(api: httpx.AsyncClient) -> None:
    await furnish(api)
    body = {"name": "基线", "hyperparameters": {"learning_rate": 2e-5}, "labels": {"a": "b"}}

    first = await api.post("/projects/p/runs", json=body, headers=keyed("k"))
    again = await api.post("/projects/p/runs", json=body, headers=keyed("k", **{"Accept-Language": "en"}))

    assert 201 == first.status_code
    assert_replayed(first, again)
    assert ["基线"] == await names(api)


async def test_an_answer_with_a_key_is_the_same_as_without(api: httpx.AsyncClient) -> None:
    await furnish(api)

    plain = await api.post("/projects/p/runs", json={"labels": {"分支": "main"}})
    first = await api.post("/projects/p/runs", json={"labels": {"分支": "main"}}, headers=keyed("k"))

    own = {"id", "name", "created_at", "updated_at", "start_command"}
    assert list(plain.json()) == list(first.json())
    assert {name: value for name, value in plain.json().items() if name not in own} == {
        name: value for name, value in first.json().items() if name not in own
    }
    assert plain.headers["Content-Type"] == first.headers["Content-Type"]


async def test_what_became_of_the_run_and_its_files_does_not_change_the_answer(api: httpx.AsyncClient, settings: Settings) -> None:
    await furnish(api)
    by_hand = Path(settings.training_path) / "b.jsonl"
    by_hand.write_bytes(SAMPLES["sft"])
    body = {"dataset": "b.jsonl", "hyperparameters": {"x": 1}}
    await api.patch("/projects/p", json={"task_type": "sft"})
    first = await api.post("/projects/p/runs", json=body, headers=keyed("k"))

    await api.post(f"/projects/p/runs/{first.json()['id']}/cancel")
    by_hand.unlink()
    assert 200 == (await api.patch("/projects/p", json={"status": "archived"})).status_code
    again = await api.post("/projects/p/runs", json=body, headers=keyed("k"))
    new = await api.post("/projects/p/runs", json=body, headers=keyed("other"))

    assert_replayed(first, again)
    assert 400 <= new.status_code < 500


async def test_twenty_at_once_with_one_key_are_one_run(api: httpx.AsyncClient) -> None:
    await furnish(api)

    answers = await asyncio.gather(*(api.post("/projects/p/runs", headers=keyed("k")) for _ in range(20)))

    assert {201} == {answer.status_code for answer in answers}
    assert 1 == len({answer.content for answer in answers})
    assert 19 == sum(answer.headers.get("Idempotency-Replayed") == "true" for answer in answers)
    assert ["run-001"] == await names(api)


async def test_another_request_with_the_same_key_is_refused_and_told_what_to_do(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.post("/projects/p/runs", json={"name": "a"}, headers=keyed("k"))
    others: list[tuple[str, dict[str, Any]]] = [
        ("/projects/p/runs", {"json": {"name": "b"}}),
        ("/projects/p/runs", {"content": b'{ "name": "a" }'}),
        ("/projects/p/runs", {}),
        ("/projects/q/runs", {"json": {"name": "a"}}),
        ("/projects/p/runs/a/cancel", {}),
        ("/projects/p/runs/a/resume?source_artifact_id=x", {"json": {"name": "a"}}),
    ]

    for path, request in others:
        refused = await api.post(path, headers=keyed("k"), **request)

        assert (422, MEDIA_TYPE) == (refused.status_code, refused.headers["Content-Type"]), path
        assert ("urn:tuneyard:idempotency-key-reused", "k") == (refused.json()["type"], refused.json()["key"])
        assert "fresh key" in refused.json()["detail"]
    assert ["a"] == await names(api)
    assert "queued" == (await api.get("/projects/p/runs/a")).json()["status"]


async def test_the_key_of_a_refused_request_is_free(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.post("/projects/p/runs", json={"name": "taken"})

    for refusal, body in ((409, {"name": "taken"}), (400, {"dataset": "nope.jsonl"}), (400, {"name": "a/b"}), (400, {"unknown": 1})):
        assert refusal == (await api.post("/projects/p/runs", json=body, headers=keyed("k"))).status_code
    corrected = await api.post("/projects/p/runs", json={"name": "free"}, headers=keyed("k"))

    assert (201, None) == (corrected.status_code, corrected.headers.get("Idempotency-Replayed"))
    assert ["free", "taken"] == await names(api)


async def test_a_request_refused_once_is_tried_anew(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.patch("/projects/p", json={"status": "archived"})
    refused = await api.post("/projects/p/runs", headers=keyed("k"))

    await api.patch("/projects/p", json={"status": "active"})
    taken = await api.post("/projects/p/runs", headers=keyed("k"))

    assert (409, 201) == (refused.status_code, taken.status_code)


async def test_a_key_is_the_same_quoted_or_bare_and_with_v1_or_without(api: httpx.AsyncClient) -> None:
    await furnish(api)

    first = await api.post("/projects/p/runs", headers=keyed('"8e03978e-40d5 \\"x\\\\"'))
    again = await api.post("/v1/projects/p/runs", headers=keyed('8e03978e-40d5 "x\\'))

    assert_replayed(first, again)


async def test_a_key_that_is_none_is_refused_by_name(api: httpx.AsyncClient) -> None:
    await furnish(api)

    for key in ("", '""', "x" * 256, '"open', '"a"b"', '"a\\b"', "tab\tinside", "ключ".encode(), b"\xff"):
        answer = await api.post("/projects/p/runs", headers=[(b"Idempotency-Key", key if isinstance(key, bytes) else key.encode())])

        assert (400, ["Idempotency-Key"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), key
    twice = await api.post("/projects/p/runs", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert 400 == twice.status_code
    assert 201 == (await api.post("/projects/p/runs", headers=keyed("x" * 255))).status_code
    assert ["run-001"] == await names(api)


async def test_without_a_key_every_launch_is_a_run_of_its_own(api: httpx.AsyncClient) -> None:
    await furnish(api)

    answers = [await api.post("/projects/p/runs") for _ in range(2)]

    assert [None, None] == [answer.headers.get("Idempotency-Replayed") for answer in answers]
    assert ["run-002", "run-001"] == await names(api)


async def test_a_repeated_cancel_answers_the_run_as_it_is_and_records_one_wish(api: httpx.AsyncClient) -> None:
    await furnish(api)
    await api.post("/projects/p/runs", json={"name": "r"})

    first = await api.post("/projects/p/runs/r/cancel", headers=keyed("k"))
    again = await api.post("/projects/p/runs/r/cancel", headers=keyed("k", Prefer="wait=1"))
    other = await api.post("/projects/p/runs/r/cancel?force=true", headers=keyed("k"))

    assert 200 == first.status_code
    assert_replayed(first, again)
    assert "wait=1" == again.headers["Preference-Applied"]
    assert 422 == other.status_code


async def test_a_repeated_resume_is_one_run(api: httpx.AsyncClient, settings: Settings) -> None:
    await furnish(api)
    run = (await api.post("/projects/p/runs", json={"name": "r"})).json()
    source = a_run(run["project_id"], id=run["id"])
    checkpoint = an_artifact(
        source, f"training/runs/{source.id}/output/checkpoint-10", type=ArtifactType.checkpoint, complete=True, step=10
    )
    async with opened(settings.database_url) as db:
        await db.run(keep, checkpoint)
    address = f"/projects/p/runs/r/resume?source_artifact_id={checkpoint.id}"

    first, again = [await api.post(address, json={"name": "s"}, headers=keyed("k")) for _ in range(2)]

    assert (201, checkpoint.id) == (first.status_code, first.json()["resumed_from"])
    assert_replayed(first, again)
    assert ["s", "r"] == await names(api)


async def test_the_document_tells_of_the_key(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]

    bearing = set()
    for path, item in paths.items():
        for method, operation in item.items():
            if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", [])):
                bearing.add((method, path.rpartition("/")[2]))
                assert {"application/problem+json"} == set(operation["responses"]["422"]["content"])
                assert "Idempotency-Replayed" in json.dumps(operation["responses"])
    assert {("post", "runs"), ("post", "resume"), ("post", "cancel"), ("post", "deployments"), ("post", "deidentify")} == bearing
