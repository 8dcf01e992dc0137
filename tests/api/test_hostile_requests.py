"""Whatever a client sends, it gets an answer that says what is wrong, and never an error of ours; the same on either database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from api.body import DEEPEST, LARGEST_BODY, MOST_FLAWS
from infra.settings import load
from tests.conftest import serving
from tests.things import SAMPLES

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that keeps what survives: a project `p` with a run `r`."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = load(environment(folder, f"sqlite:///{folder}/training.db"))
    async with serving(settings) as client:
        await furnish(client)
        yield client


def environment(folder: Path, database_url: str) -> dict[str, str]:
    return {"HOST_TRAINING_PATH": f"{folder}/training", "TRAINING_DB_URL": database_url, "TUNEYARD_EXECUTOR": "local"}


async def furnish(client: httpx.AsyncClient) -> None:
    await client.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await client.put("/v1/datasets/d/files", files={"file": ("a.jsonl", SAMPLES["sft"])})
    await client.post("/projects", json={"name": "p", "dataset_name": "datasets/d/a.jsonl"})
    await client.post("/projects/p/runs", json={"name": "r"})


def nested(levels: int) -> bytes:
    return b'{"name":"n","default_hyperparameters":' + b'{"a":' * (levels - 1) + b"1" + b"}" * levels


BODIES = {
    "an endless list": (b"[" * 100_000, "nested deeper"),
    "an endless object": (b'{"a":' * 100_000, "nested deeper"),
    "one level too many": (nested(DEEPEST + 1), "nested deeper"),
    "many brackets before a text without end": (b"[" * 70 + b'"' + b'\\"' * 400_000, "not JSON"),
    "bytes that are not UTF-8": (b'{"name":"\xff"}', "not UTF-8 (byte 9)"),
    "a surrogate as bytes": (b'{"name":"\xed\xa0\x80"}', "not UTF-8"),
    "a lone surrogate": (rb'{"name":"\ud800"}', "not JSON"),
    "two high surrogates": (rb'{"name":"\ud800\ud800 and more"}', "not JSON"),
    "a NUL": (b'{"name":"a\0b"}', "not JSON"),
    "an escaped NUL": (rb'{"name":"a\u0000b"}', "NUL"),
    "a NUL in a name": (rb'{"name":"n","default_hyperparameters":{"\u0000":1}}', "NUL"),
    "a NUL in a list": (rb'{"name":"n","tags":["\u0000"]}', "NUL"),
    "70 bits": (b'{"name":"n","default_hyperparameters":{"a":1180591620717411303424}}', "beyond 64 bits"),
    "64 bits without a sign": (b'{"name":"n","default_hyperparameters":{"a":9223372036854775808}}', "beyond 64 bits"),
    "ten thousand digits": (b'{"name":"n","default_hyperparameters":{"a":' + b"9" * 10_000 + b"}}", "not JSON"),
    "a number beyond a double": (b'{"name":"n","default_hyperparameters":{"a":1e999}}', "not JSON"),
    "NaN": (b'{"name":"n","default_hyperparameters":{"a":NaN}}', "not JSON"),
    "a byte order mark": (b'\xef\xbb\xbf{"name":"n"}', "not JSON"),
    "half an object": (b'{"name":"n"', "not JSON"),
    "more than an object": (b'{"name":"n"}{}', "not JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "a number": (b"7", "must be a JSON object"),
    "a text": (b'"p"', "must be a JSON object"),
    "true": (b"true", "must be a JSON object"),
    "null": (b"null", "must be a JSON object"),
    "nothing": (b"", "the body is empty"),
    "a form": (b"name=n", "not JSON"),
}


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES.keys())
async def test_a_hostile_body_is_refused_in_words(hostile: httpx.AsyncClient, body: bytes, words: str) -> None:
    async with asyncio.timeout(5):
        answer = await hostile.post("/projects", content=body, headers=JSON)

    assert (400, PROBLEM) == (answer.status_code, answer.headers["Content-Type"]), answer.text
    assert words in answer.json()["detail"]
    assert ["p"] == [each["name"] for each in (await hostile.get("/projects")).json()]


@pytest.mark.parametrize("address", ["/projects/p/runs", "/v1/datasets", "/projects/p"])
async def test_every_endpoint_that_reads_json_is_as_strict(hostile: httpx.AsyncClient, address: str) -> None:
    method = "PATCH" if address == "/projects/p" else "POST"

    for body in (b"[" * 100_000, b"\xff", b"[]", b"7", b'{"\\u0000":1}', b'{"nonsense":1}'):
        answer = await hostile.request(method, address, content=body, headers=JSON)

        assert (400, PROBLEM) == (answer.status_code, answer.headers["Content-Type"]), answer.text


async def test_what_only_looks_hostile_is_kept_as_it_is(hostile: httpx.AsyncClient) -> None:
    values = {"min": -(2**63), "max": 2**63 - 1, "tiny": 5e-324, "text": "\\u0000 is no NUL", "emoji": "😀", "brackets": "[" * 100}
    deep: Any = 1
    for _ in range(DEEPEST - 2):
        deep = [deep]

    answer = await hostile.post("/v1/datasets", json={"name": "odd", "metadata": values | {"deep": deep}})

    assert 201 == answer.status_code, answer.text
    assert values | {"deep": deep} == (await hostile.get("/v1/datasets/odd")).json()["metadata"]


async def test_of_a_repeated_name_the_last_value_counts(hostile: httpx.AsyncClient) -> None:
    answer = await hostile.patch("/projects/p", content=b'{"owner":"first","owner":"last"}', headers=JSON)

    assert "last" == answer.json()["owner"]


async def test_a_body_is_read_as_json_whatever_its_type_is_called(hostile: httpx.AsyncClient) -> None:
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/x-msgpack"):
        answer = await hostile.patch("/projects/p", content=b'{"owner":"alice"}', headers={"Content-Type": kind})

        assert (200, "alice") == (answer.status_code, answer.json().get("owner")), kind


async def test_a_body_of_ten_megabytes_is_too_large(hostile: httpx.AsyncClient) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 2**20

    for body in (b'{"name":"' + b"a" * 10_000_000 + b'"}', unannounced()):
        answer = await hostile.post("/projects", content=body, headers=JSON)

        assert (413, PROBLEM, "urn:tuneyard:too-large") == (answer.status_code, answer.headers["Content-Type"], answer.json()["type"])
        assert LARGEST_BODY == answer.json()["limit_bytes"]


async def test_every_wrong_field_is_named_at_once(hostile: httpx.AsyncClient) -> None:
    body = {"nam": "p", "tags": ["a", 2], "status": "retired", "owner": 5, "default_hyperparameters": []}

    answer = await hostile.post("/projects", json=body)

    assert {
        "nam": "is not known here; known are name, description",
        "name": "is required",
        "tags[1]": "expected `str`, got `int`",
        "status": "invalid enum value 'retired'",
        "owner": "expected `str | null`, got `int`",
        "default_hyperparameters": "expected `object`, got `array`",
    } == {flaw["field"]: flaw["message"][:46] for flaw in answer.json()["errors"]}
    assert all(flaw["message"] in answer.json()["detail"] for flaw in answer.json()["errors"])


async def test_wrong_fields_within_fields_are_named_too(hostile: httpx.AsyncClient) -> None:
    body = {"resources": {"gpu_type": 1, "gpu_count": -1, "cpus": 3}, "labels": {"a": 1}, "priority": "high"}

    answer = await hostile.post("/projects/p/runs", json=body)

    wrong = [flaw["field"] for flaw in answer.json()["errors"]]
    assert ["resources.cpus", "resources.gpu_type", "resources.gpu_count", "priority", "labels[...]"] == wrong


async def test_many_thousand_wrong_fields_are_not_all_named(hostile: httpx.AsyncClient) -> None:
    body = b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}"

    answer = await hostile.post("/projects", content=body, headers=JSON)

    assert (400, MOST_FLAWS) == (answer.status_code, len(answer.json()["errors"]))


ADDRESSES = {
    "/projects?nope=1": "nope",
    "/projects?Page=1&q=a&nope=1": "Page nope",
    "/projects/p?page=1": "page",
    "/projects/p/runs?name=r": "name",
    "/projects/p/runs/r/logs?since=now": "since",
    "/projects/p/runs/r/metrics?page=1": "page",
    "/v1/datasets?q=a": "q",
    "/v1/train-config?filename=a": "filename",
    "/v1/events/stream?since=0": "since",
    "/healthz?verbose=1": "verbose",
    "/projects/p/runs?status=nope": "status",
    "/projects/p/runs/r/metrics?since_step=x": "since_step",
    "/projects/p/runs/r/metrics?since_step=99999999999999999999": "since_step",
    "/projects/p/runs/r/metrics?since_step=-1": "since_step",
    "/projects/p/runs/r/logs?start_time=now": "start_time",
}


@pytest.mark.parametrize(("address", "fields"), ADDRESSES.items(), ids=ADDRESSES.keys())
async def test_a_query_parameter_that_is_unknown_or_cannot_be_is_named(hostile: httpx.AsyncClient, address: str, fields: str) -> None:
    answer = await hostile.get(address)

    assert (400, PROBLEM) == (answer.status_code, answer.headers["Content-Type"]), answer.text
    assert fields.split() == [flaw["field"] for flaw in answer.json()["errors"]]


async def test_nothing_in_an_address_breaks_sqlite(hostile: httpx.AsyncClient) -> None:
    await attack(hostile)


async def test_nothing_in_an_address_breaks_postgresql(postgresql_url: str, tmp_path: Path) -> None:
    async with serving(load(environment(tmp_path, postgresql_url))) as client:
        await furnish(client)

        await attack(client)


async def attack(client: httpx.AsyncClient) -> None:
    """Put odd texts wherever an address takes one; no answer may be an error of ours."""
    calls = [("GET", address) for address in ("/projects/%ff%fe", "/projects?q=%ff%fe", "/projects?page=9007199254740991&page_size=500")]
    for odd in ("\0", "a\0b", "\ufffd", "%00", "'; DROP TABLE projects; --", "😀", "x" * 5000, "%", "_", "\\"):
        ref = quote(odd, safe="")
        calls += [("GET", f"/{place}/{ref}") for place in ("projects", "projects/p/runs", "v1/datasets", "v1/train-configs")]
        calls += [("GET", f"/projects?{name}={ref}") for name in ("q", "tag", "owner", "status")]
        calls += [("GET", f"/projects/p/runs/r/artifacts/{ref}"), ("GET", f"/projects/p/runs/r/metrics?name={ref}")]
        calls += [("DELETE", f"/v1/uploads/{ref}"), ("GET", f"/projects/p/runs/r/logs?start_time={ref}")]
    answers = [await client.request(method, address) for method, address in calls]

    assert [] == [(answer.url, answer.text) for answer in answers if answer.status_code not in (200, 400, 404)]


@pytest.mark.parametrize("place", ["x", "-1", "1.5", "٣", "9" * 30, "9" * 5000, "NaN"], ids=lambda place: place[:10])
async def test_a_place_in_a_stream_that_cannot_be_is_refused(hostile: httpx.AsyncClient, place: str) -> None:
    log = await hostile.get("/projects/p/runs/r/logs/stream", headers={b"Last-Event-ID": place.encode()})
    events = await hostile.get("/v1/events/stream", headers={b"Last-Event-ID": f"{place}.1".encode()})

    for answer in (log, events):
        assert (400, PROBLEM) == (answer.status_code, answer.headers["Content-Type"])
        assert "Last-Event-ID" in answer.json()["detail"]
