"""Runs over HTTP while they wait: listed, shown, and asked about what they have not said yet."""

from typing import Any

import httpx

from api.problems import MEDIA_TYPE
from tests.things import SAMPLES


async def furnish(api: httpx.AsyncClient, *runs: str) -> None:
    """A project `p` with runs of these names, all waiting: no worker is there."""
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", SAMPLES["sft"])})
    await api.post("/projects", json={"name": "p", "dataset_name": "datasets/d/a.jsonl"})
    for name in runs:
        assert 201 == (await api.post("/projects/p/runs", json={"name": name})).status_code


async def listed(api: httpx.AsyncClient, **wanted: Any) -> list[str]:
    return [each["name"] for each in (await api.get("/projects/p/runs", params=wanted)).json()]


async def test_runs_are_listed_by_status_and_page_by_page(api: httpx.AsyncClient) -> None:
    await furnish(api, "a", "b", "c")

    first = await api.get("/projects/p/runs?page_size=2&status=排队中")
    second = await api.get(first.links["next"]["url"])

    assert (["c", "b"], ["a"]) == tuple([each["name"] for each in answer.json()] for answer in (first, second))
    assert "3" == first.headers["X-Total-Count"]
    for said in ("queued", "排队中", "Queued"):
        assert ["c", "b", "a"] == await listed(api, status=said)
    assert [] == await listed(api, status="running")
    assert {"queued"} == {each["status"] for each in first.json()}


async def test_a_run_is_found_within_its_own_project_only(api: httpx.AsyncClient) -> None:
    await furnish(api, "a")
    await api.post("/projects", json={"name": "q"})
    run = (await api.get("/projects/p/runs/a")).json()["id"]

    for tail in ("", "/logs", "/metrics", "/artifacts", "/artifacts/ckpt_x", "/logs/stream"):
        for address in (f"/projects/q/runs/{run}{tail}", f"/projects/nope/runs/{run}{tail}", f"/projects/p/runs/nope{tail}"):
            answer = await api.get(address)

            assert (404, MEDIA_TYPE) == (answer.status_code, answer.headers["Content-Type"]), address


async def test_a_waiting_run_says_why_it_waits_in_the_callers_language(api: httpx.AsyncClient) -> None:
    await furnish(api, "a")

    english, chinese = [(await api.get("/projects/p/runs/a", headers={"Accept-Language": each})).json()["waiting"] for each in ("en", "zh")]

    assert ("no_host", "No host", 1) == (english["reason"], english["reason_label"], english["position"])
    assert "no host is accepting work" in english["text"]
    assert "没有主机在接收任务" in chinese["text"]


async def test_a_run_that_has_said_nothing_has_an_empty_log(api: httpx.AsyncClient) -> None:
    await furnish(api, "a")

    log = (await api.get("/projects/p/runs/a/logs?page=3&page_size=500")).json()
    metrics = (await api.get("/projects/p/runs/a/metrics?name=train/loss&since_step=0")).json()
    artifacts = (await api.get("/projects/p/runs/a/artifacts")).json()

    assert {"page": 3, "page_size": 500, "total": 0, "items": []} == log
    assert {"latest": {}, "items": []} == metrics
    assert {"items": []} == artifacts


async def test_a_page_or_a_window_of_a_log_that_cannot_be_is_refused(api: httpx.AsyncClient) -> None:
    await furnish(api, "a")
    refused = {
        "page=0": "page",
        "page=-1": "page",
        "page=one": "page",
        "page_size=0": "page_size",
        "page_size=501": "page_size",
        "page=0&page_size=501": "page page_size",
        "start_time=yesterday": "start_time",
        "start_time=2024-13-01": "start_time",
        "end_time=1700000000": "end_time",
        "start_time=2024-01-02T10:00:00Z&end_time=2024-01-02T09:59:59Z": "end_time",
        "start_time=2024-01-02T10:00:00Z&end_time=2024-01-02T11:00:00%2B08:00": "end_time",
    }

    for query, fields in refused.items():
        answer = await api.get(f"/projects/p/runs/a/logs?{query}")

        assert (400, fields.split()) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), query


async def test_times_are_read_however_iso_8601_writes_them(api: httpx.AsyncClient) -> None:
    await furnish(api, "a")

    for time in ("2024-01-02", "2024-01-02T10:00", "2024-01-02T10:00:00.123456Z", "2024-01-02T10:00:00+08:00", "2024-01-02 10:00:00"):
        for address in (f"start_time={time}", f"end_time={time}", f"start_time={time}&end_time={time}"):
            assert 200 == (await api.get(f"/projects/p/runs/a/logs?{address}")).status_code, address
    for extreme in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
        assert 200 == (await api.get(f"/projects/p/runs/a/logs?start_time={extreme}")).status_code
