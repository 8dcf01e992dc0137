"""De-identification over HTTP: what is promised to callers, and that nothing personal stays behind."""

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from infra.settings import Settings
from tests.conftest import serving

MOBILE = "13812345678"
DOCUMENTED: dict[str, Any] = {"policy_id": "default", "text": [f"客户手机号 {MOBILE}"], "options": {"return_mapping": True, "seed": 42}}
KEYS = "k2:" + "ab" * 32 + ",k1:" + "cd" * 32


async def ask(api: httpx.AsyncClient, status: int = 200, **body: Any) -> Any:
    answer = await api.post("/v1/deidentify:test", json=body)
    assert status == answer.status_code, answer.text
    return answer.json()


async def test_the_documented_request(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/deidentify:test", json=DOCUMENTED)
    body = answer.json()

    assert (200, "no-store") == (answer.status_code, answer.headers["cache-control"])
    assert ("default", 42, "code_point", "test-only", {"CN_MOBILE": 1}) == tuple(
        body[each] for each in ("policy_id", "seed", "offset_unit", "security", "stats")
    )
    ((result,), (mapped,)) = body["results"], body["mapping"]
    (span,) = result["spans"]
    assert MOBILE not in result["text"]
    assert {
        "type": "CN_MOBILE",
        "start": 6,
        "end": 17,
        "out_start": 6,
        "out_end": 17,
        "operator": "pseudonym",
        "rule": "cn_mobile",
    }.items() <= span.items()
    assert {"index": 0, "type": "CN_MOBILE", "original": MOBILE, "replacement": result["text"][6:17], "start": 6, "end": 17} == mapped
    assert DOCUMENTED["text"] == [result["text"].replace(mapped["replacement"], mapped["original"])]


async def test_the_same_seed_gives_the_same_text_and_another_a_different_one(api: httpx.AsyncClient) -> None:
    def texts(body: Any) -> list[str]:
        return [each["text"] for each in body["results"]]

    seeded = [texts(await ask(api, text=[MOBILE, f"+86 {MOBILE}"], options={"seed": seed})) for seed in (42, 42, 43)]
    fresh = [texts(await ask(api, text=[MOBILE, MOBILE])) for _ in range(2)]

    assert seeded[0] == seeded[1] != seeded[2]
    assert f"+86 {seeded[0][0]}" == seeded[0][1]
    assert fresh[0] != fresh[1]
    assert fresh[0][0] == fresh[0][1]
    assert (await ask(api, text=MOBILE))["seed"] is None


async def test_without_being_asked_for_no_original_is_answered(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/deidentify:test", json={"text": f"客户手机号 {MOBILE}"})

    assert "mapping" not in answer.json()
    assert MOBILE not in answer.text


async def test_texts_come_back_in_order_and_number(api: httpx.AsyncClient) -> None:
    texts = ["", "无", f"a {MOBILE}", ""]
    results = (await ask(api, text=texts))["results"]

    assert ["", "无"] == [each["text"] for each in results[:2]]
    assert [0, 0, 1, 0] == [len(each["spans"]) for each in results]


@pytest.mark.parametrize(("unit", "start"), [("code_point", 4), ("utf16", 6), ("utf8", 14)])
async def test_offsets_count_what_the_caller_counts(api: httpx.AsyncClient, unit: str, start: int) -> None:
    body = await ask(api, text=f"😀𠮷电话{MOBILE}", options={"offset_unit": unit, "return_mapping": True})

    (span,) = body["results"][0]["spans"]
    assert (unit, start, start + 11, start, start + 11) == (
        body["offset_unit"],
        *(span[each] for each in ("start", "end", "out_start", "out_end")),
    )
    assert start == body["mapping"][0]["start"]


async def test_limits(api: httpx.AsyncClient) -> None:
    assert 1000 == len((await ask(api, text=["a"] * 1000))["results"])
    assert "1,001 texts" in (await ask(api, 413, text=["a"] * 1001))["detail"]
    assert 1 == len((await ask(api, text="电话" * 170_000))["results"])
    assert "1,048,576" in (await ask(api, 413, text="电话" * 180_000))["detail"]
    assert "8,388,608" in (await ask(api, 413, text="x" * 9_000_000))["detail"]


async def test_what_cannot_be_read_is_refused(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for content in (rb'{"text": ["\ud83d"]}', rb'{"text": ["\udc00 x"]}', b'{"text": ["\xff"]}', b'{"text": ["\\u0000"]}'):
        assert 400 == (await api.post("/v1/deidentify:test", content=content, headers=headers)).status_code, content
    refused = await ask(api, 400, text=3, options={"seed": "x"}, extra=1)
    assert {"text", "options.seed", "extra"} == {flaw["field"] for flaw in refused["errors"]}


async def test_an_unknown_policy_is_not_found_and_the_known_ones_are_named(api: httpx.AsyncClient) -> None:
    body = await ask(api, 404, policy_id="nope", text="x")

    assert ["default", "mask", "redact", "reversible"] == body["known"]
    assert 404 == (await api.get("/v1/deid-policies/nope")).status_code
    assert {"default", "mask", "redact", "reversible"} == {each["id"] for each in (await api.get("/v1/deid-policies")).json()["policies"]}
    assert "pseudonym" == (await api.get("/v1/deid-policies/default")).json()["definition"]["defaults"]["operator"]["kind"]


async def test_a_mask_is_for_display(api: httpx.AsyncClient) -> None:
    assert "手机138****5678" == (await ask(api, policy_id="mask", text=f"手机{MOBILE}"))["results"][0]["text"]


async def test_tokens_are_opened_with_the_role_and_it_is_in_the_record(settings: Settings) -> None:
    async with serving(replace(settings, deid_keys=KEYS)) as api:
        body = await ask(api, policy_id="reversible", text=[f"电话{MOBILE}，邮箱a@b.cn"])
        sealed = body["results"][0]["text"]
        assert ("keyed", "k2") == (body["security"], body["key_id"])
        assert MOBILE not in sealed

        answer = await api.post("/v1/deidentify:reveal", json={"text": [sealed, "CN_MOBILE(8):AAAAAAAA"], "reason": "客诉 17"})
        assert "no-store" == answer.headers["cache-control"]
        assert [
            {"text": f"电话{MOBILE}，邮箱a@b.cn", "opened": 2, "unopened": 0},
            {"text": "CN_MOBILE(8):AAAAAAAA", "opened": 0, "unopened": 1},
        ] == answer.json()["results"]

        await ask(api, **DOCUMENTED)
        events = _events(settings)
        assert [
            ("deid.revealed", "reversible", {"opened": 2, "unopened": 1, "reason": "客诉 17"}),
            ("deid.mapping_returned", "default", {"values": 1}),
        ] == [(each["kind"], each["subject"], each["data"]) for each in events]
        assert MOBILE not in json.dumps(events)


async def test_a_rotated_key_opens_what_it_sealed_and_seals_nothing_new(settings: Settings) -> None:
    old, new = KEYS.split(",")[1], KEYS
    async with serving(replace(settings, deid_keys=old)) as api:
        sealed = (await ask(api, policy_id="reversible", text=MOBILE))["results"][0]["text"]
    async with serving(replace(settings, deid_keys=new)) as api:
        again = (await ask(api, policy_id="reversible", text=MOBILE))["results"][0]["text"]
        opened = (await api.post("/v1/deidentify:reveal", json={"text": [sealed, again]})).json()["results"]
    assert sealed != again
    assert [MOBILE, MOBILE] == [each["text"] for each in opened]


async def test_without_a_key_nothing_reversible_is_made(api: httpx.AsyncClient) -> None:
    assert "TUNEYARD_DEID_KEY_FILE" in (await ask(api, 409, policy_id="reversible", text="x"))["detail"]


async def test_a_policy_may_forbid_the_mapping(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("id: own\nversion: 1\nmapping: {allowed: false}\n")
    async with serving(replace(settings, policies=str(tmp_path))) as api:
        assert "no mapping" in (await ask(api, 403, policy_id="own", text="x", options={"return_mapping": True}))["detail"]
        await ask(api, policy_id="own", text="x")


async def test_nothing_personal_is_left_in_logs_files_or_rows(settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(replace(settings, deid_keys=KEYS)) as api:
        await ask(api, **DOCUMENTED)
        await ask(api, 404, policy_id="nope", text=MOBILE)
        await ask(api, 400, text=MOBILE, options={"seed": "x"})
        await ask(api, 413, text=[MOBILE] * 1001)
        await ask(api, text=[f"{MOBILE} {'长' * 30_000}"])  # in a thread
        events = json.dumps(_events(settings))

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if MOBILE.encode() in path.read_bytes()]
    # Our client logs nothing of bodies, so whatever says the number would be ours.
    assert MOBILE not in caplog.text + events


def _events(settings: Settings) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as database:
        rows = database.execute("SELECT kind, subject, actor, data FROM events WHERE kind LIKE 'deid.%' ORDER BY id").fetchall()
    return [{"kind": kind, "subject": subject, "actor": actor, "data": json.loads(data)} for kind, subject, actor, data in rows]
