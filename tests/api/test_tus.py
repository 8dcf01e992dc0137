"""Resumable uploads over HTTP, by the letter of tus 1.0.0."""

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from infra.settings import Settings
from tests.conftest import serving
from tests.things import LINES

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


async def begun(api: httpx.AsyncClient, length: int, name: str = "数据.jsonl", **values: str) -> str:
    answer = await api.post(
        "/v1/datasets/d/uploads", headers=TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata(filename=name, **values)}
    )
    assert (201, "1.0.0") == (answer.status_code, answer.headers["Tus-Resumable"]), answer.text
    return answer.headers["Location"]


async def sent(api: httpx.AsyncClient, place: str, offset: int, content: Any, **headers: str) -> httpx.Response:
    return await api.patch(place, headers=BYTES | {"Upload-Offset": str(offset)} | headers, content=content)


async def files(api: httpx.AsyncClient) -> list[tuple[str, str]]:
    return [(each["name"], each["sha256"]) for each in (await api.get("/v1/datasets/d")).json()["files"]]


async def gone(api: httpx.AsyncClient, place: str, settings: Settings) -> None:
    """Return once an upload is not known any more, and its bytes are gone."""
    async with asyncio.timeout(20):
        while (await api.get(place)).status_code != 404 or leftovers(settings):  # noqa: ASYNC110 - the server tidies by itself
            await asyncio.sleep(0.01)


def leftovers(settings: Settings) -> list[str]:
    return [path.name for path in (Path(settings.training_path) / "incoming").iterdir()]


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings) as client:
        await client.post("/v1/datasets", json={"name": "d"})
        yield client


async def test_what_is_spoken_here_is_said(api: httpx.AsyncClient, settings: Settings) -> None:
    answer = await api.options("/v1/datasets/d/uploads")

    assert 204 == answer.status_code
    said = {name: answer.headers[name] for name in ("Tus-Resumable", "Tus-Version", "Tus-Max-Size", "Tus-Checksum-Algorithm")}
    assert {
        "Tus-Resumable": "1.0.0",
        "Tus-Version": "1.0.0",
        "Tus-Max-Size": str(settings.max_file_bytes),
        "Tus-Checksum-Algorithm": "sha1,sha256,md5",
    } == said
    assert {"creation", "creation-with-upload", "termination", "checksum", "expiration"} == set(answer.headers["Tus-Extension"].split(","))


async def test_a_file_sent_in_parts_is_one_of_the_datasets_files(api: httpx.AsyncClient, settings: Settings) -> None:
    place = await begun(api, len(LINES))
    first = await sent(api, place, 0, LINES[:1000])
    found = await api.head(place, headers=TUS)
    under_way = (await api.get("/v1/datasets/d/uploads")).json()
    last = await sent(api, place, 1000, LINES[1000:])

    assert (204, "1000", 204, str(len(LINES))) == (
        first.status_code,
        first.headers["Upload-Offset"],
        last.status_code,
        last.headers["Upload-Offset"],
    )
    assert ("1000", str(len(LINES)), "no-store", metadata(filename="数据.jsonl")) == tuple(
        found.headers[name] for name in ("Upload-Offset", "Upload-Length", "Cache-Control", "Upload-Metadata")
    )
    assert [("数据.jsonl", len(LINES), 1000, "under_way")] == [(e["name"], e["length"], e["received"], e["status"]) for e in under_way]
    assert "GMT" in first.headers["Upload-Expires"]
    assert "Upload-Expires" not in last.headers
    assert [("数据.jsonl", hashlib.sha256(LINES).hexdigest())] == await files(api)
    shown = (await api.get(place)).json()
    assert ("complete", (await api.get("/v1/datasets/d")).json()["files"][0]["upload_id"]) == (shown["status"], shown["upload_id"])
    assert str(len(LINES)) == (await api.head(place, headers=TUS)).headers["Upload-Offset"]
    assert ([], []) == ((await api.get("/v1/datasets/d/uploads")).json(), leftovers(settings))


async def test_an_empty_file_is_whole_when_it_is_begun(api: httpx.AsyncClient) -> None:
    await begun(api, 0, "empty.txt")

    assert [("empty.txt", hashlib.sha256().hexdigest())] == await files(api)


async def test_the_first_bytes_may_come_with_the_beginning(api: httpx.AsyncClient) -> None:
    headers = BYTES | {"Upload-Length": "10", "Upload-Metadata": metadata(filename="a")}
    answer = await api.post("/v1/datasets/d/uploads", headers=headers, content=b"0123")

    assert (201, "4") == (answer.status_code, answer.headers["Upload-Offset"])
    assert "10" == (await sent(api, answer.headers["Location"], 4, b"456789")).headers["Upload-Offset"]


async def test_bytes_that_do_not_go_on_where_the_last_ones_ended_are_refused(api: httpx.AsyncClient) -> None:
    place = await begun(api, 10)
    await sent(api, place, 0, b"0123")

    for offset in (0, 3, 5, 10):
        refused = await sent(api, place, offset, b"x")
        assert (409, 4, "1.0.0") == (refused.status_code, refused.json()["offset"], refused.headers["Tus-Resumable"])
    assert "4" == (await api.head(place, headers=TUS)).headers["Upload-Offset"]


async def test_more_bytes_than_announced_are_refused(api: httpx.AsyncClient) -> None:
    place = await begun(api, 4)

    assert 413 == (await sent(api, place, 0, b"01234")).status_code
    assert [] == await files(api)
    assert 204 == (await sent(api, place, 0, b"0123")).status_code


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
async def test_a_checksum_guards_every_part(api: httpx.AsyncClient, algorithm: str) -> None:
    place = await begun(api, 10)
    right = f"{algorithm} {base64.b64encode(hashlib.new(algorithm, b'01234').digest()).decode()}"

    wrong = await sent(api, place, 0, b"0123x", **{"Upload-Checksum": right})
    unknown = await sent(api, place, 0, b"01234", **{"Upload-Checksum": "crc32 AAAA"})
    first = await sent(api, place, 0, b"01234", **{"Upload-Checksum": right})

    assert (460, 400, 204, "5") == (wrong.status_code, unknown.status_code, first.status_code, first.headers["Upload-Offset"])


async def test_who_comes_later_goes_on_and_who_was_there_is_told(api: httpx.AsyncClient) -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"0123"
        came.set()
        await go_on.wait()
        yield b"4567"

    place = await begun(api, 10)
    first = asyncio.create_task(sent(api, place, 0, stalling()))
    await came.wait()
    found = await api.head(place, headers=TUS)
    second = await sent(api, place, int(found.headers["Upload-Offset"]), b"0123456789"[int(found.headers["Upload-Offset"]) :])
    go_on.set()

    assert (423, 204) == ((await first).status_code, second.status_code)
    assert [("数据.jsonl", hashlib.sha256(b"0123456789").hexdigest())] == await files(api)


async def test_an_upload_that_is_given_up_leaves_nothing(api: httpx.AsyncClient, settings: Settings) -> None:
    place = await begun(api, 10)
    await sent(api, place, 0, b"0123")

    gone = await api.delete(place, headers=TUS)

    assert 204 == gone.status_code
    assert [404, 404, 404] == [
        answer.status_code
        for answer in (await api.head(place, headers=TUS), await sent(api, place, 4, b"4"), await api.delete(place, headers=TUS))
    ]
    assert [] == leftovers(settings)


async def test_a_client_that_can_only_post_may_say_what_it_means(api: httpx.AsyncClient) -> None:
    place = await begun(api, 4)
    headers = BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}

    assert "4" == (await api.post(place, headers=headers, content=b"0123")).headers["Upload-Offset"]
    assert 204 == (await api.post(place, headers=TUS | {"X-HTTP-Method-Override": "DELETE"})).status_code
    assert 405 == (await api.post(place, headers=TUS)).status_code


async def test_a_name_in_use_is_refused_before_a_byte_is_sent_and_replaced_when_meant(api: httpx.AsyncClient) -> None:
    await sent(api, await begun(api, 4, "a"), 0, b"0123")
    headers = TUS | {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}

    refused = await api.post("/v1/datasets/d/uploads", headers=headers)
    await sent(api, await begun(api, 5, "a", replace="true"), 0, b"01234")

    assert 409 == refused.status_code
    assert [("a", hashlib.sha256(b"01234").hexdigest())] == await files(api)
    assert 2 == (await api.get("/v1/datasets/d")).json()["version"]


async def test_a_name_taken_meanwhile_costs_no_byte(api: httpx.AsyncClient, settings: Settings) -> None:
    place = await begun(api, 4, "a")
    other = (await api.put("/v1/datasets/d/files", files={"file": ("a", b"other")})).json()["upload_id"]

    refused = await sent(api, place, 0, b"0123")
    await api.delete(f"/v1/uploads/{other}")
    again = await sent(api, place, 4, b"")

    assert (409, 204) == (refused.status_code, again.status_code)
    assert [("a", hashlib.sha256(b"0123").hexdigest())] == await files(api)
    assert [] == leftovers(settings)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (412, {"Upload-Length": "1", "Upload-Metadata": metadata(filename="a")}),
        (412, {"Tus-Resumable": "0.2.2", "Upload-Length": "1", "Upload-Metadata": metadata(filename="a")}),
        (400, TUS | {"Upload-Length": "1"}),
        (400, TUS | {"Upload-Length": "1", "Upload-Metadata": "filename ???"}),
        (400, TUS | {"Upload-Length": "1", "Upload-Metadata": metadata(filename="../a")}),
        (400, TUS | {"Upload-Length": "-1", "Upload-Metadata": metadata(filename="a")}),
        (400, TUS | {"Upload-Metadata": metadata(filename="a")}),
        (400, TUS | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="a")}),
        (400, TUS | {"Upload-Length": "1", "Upload-Concat": "partial", "Upload-Metadata": metadata(filename="a")}),
        (413, TUS | {"Upload-Length": str(2**40), "Upload-Metadata": metadata(filename="a")}),
        (400, TUS | {"Upload-Length": "9" * 30, "Upload-Metadata": metadata(filename="a")}),
    ],
)
async def test_what_cannot_be_begun_is_refused_in_words(
    api: httpx.AsyncClient, status: int, headers: dict[str, str], settings: Settings
) -> None:
    refused = await api.post("/v1/datasets/d/uploads", headers=headers)

    assert (status, "1.0.0") == (refused.status_code, refused.headers["Tus-Resumable"])
    assert refused.json()["detail"]
    assert [] == leftovers(settings)


async def test_bytes_of_another_type_are_refused(api: httpx.AsyncClient) -> None:
    place = await begun(api, 4)

    assert 415 == (await api.patch(place, headers=TUS | {"Upload-Offset": "0"}, content=b"0123")).status_code
    assert 400 == (await api.patch(place, headers=BYTES, content=b"0123")).status_code


async def test_what_a_disk_has_lost_must_come_again(api: httpx.AsyncClient, settings: Settings) -> None:
    place = await begun(api, len(LINES))
    await sent(api, place, 0, LINES[:100_000])
    (arriving,) = (Path(settings.training_path) / "incoming").iterdir()
    os.truncate(arriving, 40_000)

    found = await api.head(place, headers=TUS)
    await sent(api, place, 40_000, LINES[40_000:])

    assert "40000" == found.headers["Upload-Offset"]
    assert [("数据.jsonl", hashlib.sha256(LINES).hexdigest())] == await files(api)


async def test_bytes_behind_those_that_count_are_cut_off(api: httpx.AsyncClient, settings: Settings) -> None:
    place = await begun(api, len(LINES))
    await sent(api, place, 0, LINES[:1000])
    (arriving,) = (Path(settings.training_path) / "incoming").iterdir()
    with arriving.open("ab") as file:
        file.write(b"x" * 2 * len(LINES))

    assert "1000" == (await api.head(place, headers=TUS)).headers["Upload-Offset"]
    await sent(api, place, 1000, LINES[1000:])

    upload = (await api.get(place)).json()["upload_id"]
    assert LINES == (await api.get(f"/v1/datasets/d/files/{upload}/content")).content


async def test_an_upload_that_comes_no_further_expires_with_its_bytes(settings: Settings) -> None:
    async with serving(replace(settings, upload_expiry_seconds=0.01)) as api:
        await api.post("/v1/datasets", json={"name": "d"})
        place = await begun(api, 10)
        await sent(api, place, 0, b"0123")
        time.sleep(0.02)  # noqa: ASYNC251 - what expires does so by the clock
    async with serving(replace(settings, upload_expiry_seconds=0.01)) as api:
        await gone(api, place, settings)
