"""Projects over HTTP: what is shown, what is refused, and the history of every change."""

from typing import Any
from urllib.parse import quote

import httpx

from tests.things import SAMPLES

FIELDS = {
    "id",
    "name",
    "description",
    "objective",
    "task_type",
    "base_model",
    "owner",
    "tags",
    "default_hyperparameters",
    "dataset_name",
    "training_yaml_name",
    "status",
    "status_label",
    "executor",
    "deid_policy",
    "watch",
    "version",
    "versions",
    "run_count",
    "runs",
    "created_at",
    "updated_at",
}
BOTH = {"dataset_name": "datasets/a.jsonl", "training_yaml_name": "configs/a.yaml"}


async def created(api: httpx.AsyncClient, name: str, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/projects", json={"name": name} | fields)
    assert 201 == answer.status_code, answer.text
    project: dict[str, Any] = answer.json()
    return project


async def names(api: httpx.AsyncClient, **wanted: Any) -> list[str]:
    answer = await api.get("/projects", params=wanted)
    assert 200 == answer.status_code, answer.text
    return [each["name"] for each in answer.json()]


async def test_a_project_is_shown_with_all_that_was_said(api: httpx.AsyncClient) -> None:
    said = {
        "description": "对科研文章进行自动摘要",
        "objective": "降低阅读时间",
        "task_type": "文本摘要",
        "base_model": "llama-2-13b",
        "owner": "小李",
        "tags": ["科研", "第一阶段"],
        "default_hyperparameters": {"learning_rate": 3e-5, "batch_size": 16},
    }

    project = await created(api, "中文摘要系统", **said)

    assert set(project) == FIELDS
    assert said == {field: project[field] for field in said}
    assert project["id"].startswith("proj_")
    assert project["created_at"].endswith("Z")
    assert (0, [], 1) == (project["run_count"], project["runs"], project["version"])
    for ref in (project["id"], "中文摘要系统"):
        for prefix in ("", "/v1"):
            assert project == (await api.get(f"{prefix}/projects/{ref}")).json()


LANGUAGES = {
    "": "草稿",
    "zh-CN,en;q=0.5": "草稿",
    "en": "Draft",
    "en-GB,en;q=0.9,zh;q=0.8": "Draft",
    "fr, en;q=0.4": "Draft",
    "en;q=0.1, zh;q=0.9": "草稿",
    "en;q=0": "草稿",
    "ende, *": "草稿",
}


async def test_labels_come_in_the_language_that_is_asked_for(api: httpx.AsyncClient) -> None:
    await created(api, "p")

    shown = {language: (await api.get("/projects/p", headers={"Accept-Language": language})).json() for language in LANGUAGES}
    listed = await api.get("/projects", headers={"Accept-Language": "en"})

    assert LANGUAGES == {language: project["status_label"] for language, project in shown.items()}
    assert {"draft"} == {project["status"] for project in shown.values()}
    assert ["Draft"] == [each["status_label"] for each in listed.json()]


async def test_a_status_is_understood_by_its_code_and_by_its_labels(api: httpx.AsyncClient) -> None:
    await created(api, "p")

    for said, status in (("archived", "archived"), ("启用", "active"), ("Archived", "archived"), ("草稿", "draft"), ("已归档", "archived")):
        assert status == (await api.patch("/projects/p", json={"status": said})).json()["status"]
    for said in ("archived", "已归档", "Archived"):
        assert ["p"] == await names(api, status=said)
    assert [] == await names(api, status="启用")
    assert 400 == (await api.patch("/projects/p", json={"status": "retired"})).status_code


async def test_a_name_that_cannot_stand_in_a_url_is_refused(api: httpx.AsyncClient) -> None:
    for name in ("", " ", " a", "a ", "x" * 201, "a/b", ".", "..", "a\nb", "a\x7fb", "a\u202eb", "proj_1", "run_1", "ckpt_1", "art_1"):
        answer = await api.post("/projects", json={"name": name})

        assert (400, ["name"]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), ascii(name)


async def test_odd_but_honest_names_work_as_references(api: httpx.AsyncClient) -> None:
    for name in ("a?b#c%20d", "项目 一", "v1.2", "O'Neill\\", "😀"):
        project = await created(api, name)

        shown = await api.get(f"/projects/{quote(name, safe='')}")

        assert project == shown.json()


async def test_a_name_in_use_is_a_conflict(api: httpx.AsyncClient) -> None:
    await created(api, "a")
    await created(api, "b")

    again = await api.post("/projects", json={"name": "a"})
    renamed = await api.patch("/projects/b", json={"name": "a"})

    assert (409, 409) == (again.status_code, renamed.status_code)
    assert "already exists" in again.json()["detail"]
    assert ["b", "a"] == await names(api)


async def test_a_draft_becomes_active_when_it_has_both(api: httpx.AsyncClient) -> None:
    await created(api, "p")

    halfway = await api.patch("/projects/p", json={"dataset_name": BOTH["dataset_name"]})
    whole = await api.patch("/projects/p", json={"training_yaml_name": BOTH["training_yaml_name"]})

    assert ("draft", "active") == (halfway.json()["status"], whole.json()["status"])
    assert "active" == (await created(api, "q", **BOTH))["status"]


async def test_a_project_that_was_called_a_draft_stays_one(api: httpx.AsyncClient) -> None:
    await created(api, "p", status="draft", **BOTH)

    changed = await api.patch("/projects/p", json={"description": "not yet"})
    repeated = await api.patch("/projects/p", json={"description": "still not", "status": "draft"})

    assert ("draft", "draft") == (changed.json()["status"], repeated.json()["status"])


async def test_every_change_is_a_version_that_says_who_and_what(api: httpx.AsyncClient) -> None:
    await created(api, "p", owner="alice", tags=["a"])

    await api.patch("/projects/p", json={"owner": "bob", "tags": ["a"]})
    await api.patch("/projects/p", json={"owner": None, "default_hyperparameters": {"batch_size": 8}})
    unchanged = await api.patch("/projects/p", json={"tags": ["a"]})

    assert 3 == unchanged.json()["version"]
    history = [(each["number"], each["by"], each["changes"]) for each in unchanged.json()["versions"]]
    assert [
        (1, "local", {"name": [None, "p"], "owner": [None, "alice"], "tags": [None, ["a"]], "status": [None, "draft"]}),
        (2, "local", {"owner": ["alice", "bob"]}),
        (3, "local", {"owner": ["bob", None], "default_hyperparameters": [{}, {"batch_size": 8}]}),
    ] == history
    assert all(each["at"].endswith("Z") for each in unchanged.json()["versions"])


async def test_an_archived_project_takes_no_run_until_it_is_active_again(api: httpx.AsyncClient) -> None:
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", SAMPLES["sft"])})
    await created(api, "p", dataset_name="datasets/d/a.jsonl")
    await api.patch("/projects/p", json={"status": "archived"})

    refused = await api.post("/projects/p/runs")
    await api.patch("/projects/p", json={"status": "active"})
    taken = await api.post("/projects/p/runs")

    assert (409, 201) == (refused.status_code, taken.status_code)
    assert "archived" in refused.json()["detail"]


async def test_pages_lead_through_the_whole_list(api: httpx.AsyncClient) -> None:
    for number in range(7):
        await created(api, f"p{number}", owner="小李")

    pages = [await api.get("/projects?page_size=3&owner=小李")]
    while "next" in pages[-1].links:
        pages.append(await api.get(pages[-1].links["next"]["url"]))

    names_by_page = [[each["name"] for each in page.json()] for page in pages]
    assert [["p6", "p5", "p4"], ["p3", "p2", "p1"], ["p0"]] == names_by_page
    assert ["7"] * 3 == [page.headers["X-Total-Count"] for page in pages]
    assert [{"first", "next", "last"}, {"first", "prev", "next", "last"}, {"first", "prev", "last"}] == [set(page.links) for page in pages]
    assert pages[-1].json() == (await api.get(pages[0].links["last"]["url"])).json()


async def test_a_page_past_the_end_is_empty_and_says_the_true_total(api: httpx.AsyncClient) -> None:
    await created(api, "p")

    answer = await api.get("/projects?page=9")

    assert ([], "1") == (answer.json(), answer.headers["X-Total-Count"])
    assert {"first", "last"} == set(answer.links)


async def test_a_page_that_cannot_be_is_refused(api: httpx.AsyncClient) -> None:
    for query in ("page=0", "page=-1", "page=x", "page=", "page_size=0", "page_size=501", "page=99999999999999999999"):
        answer = await api.get(f"/projects?{query}")

        assert (400, [query.partition("=")[0]]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]]), query


async def test_a_list_is_filtered_by_status_tag_owner_and_text(api: httpx.AsyncClient) -> None:
    await created(api, "摘要", tags=["科研", "100%"], owner="小李", description="对科研文章进行自动摘要")
    await created(api, "Chat", tags=["demo"], owner="alice", **BOTH)
    await created(api, "100_percent", tags=[], owner="alice")

    assert ["Chat"] == await names(api, status="active")
    assert ["摘要"] == await names(api, tag="科研")
    assert [] == await names(api, tag="科")
    assert ["摘要"] == await names(api, tag="100%")
    assert ["100_percent", "Chat"] == await names(api, owner="alice")
    assert ["摘要"] == await names(api, owner="小李")
    assert ["摘要"] == await names(api, q="科研文章")
    assert ["Chat"] == await names(api, q="cHAT")
    assert ["100_percent"] == await names(api, q="0_p")
    assert [] == await names(api, q="%")
    assert ["Chat"] == await names(api, q="a", owner="alice", status="启用")
