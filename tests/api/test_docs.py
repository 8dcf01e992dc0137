"""The OpenAPI document says what the documents call things, and its page needs nothing from elsewhere."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import docs
from api.docs import ASSETS
from infra.settings import Settings
from tests.conftest import serving

DOCUMENTED = {"ProjectCreate", "ProjectDetail", "DatasetCreateRequest", "DatasetRecord"}
METHODS = {"get", "put", "post", "patch", "delete"}


async def test_the_documented_names_are_there(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()

    assert set(document["components"]["schemas"]) >= DOCUMENTED
    create = document["paths"]["/projects"]["post"]
    assert "ProjectCreate" in str(create["requestBody"])
    assert "ProjectDetail" in str(create["responses"]["201"])
    assert not [path for path in document["paths"] if path.startswith("/v1/projects")], "one path is documented, its alias is not"


async def test_every_operation_says_what_it_does_and_how_it_refuses(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()

    operations = {(path, name): each for path, item in document["paths"].items() for name, each in item.items() if name in METHODS}
    refusals = {place: each["responses"]["400"]["content"] for place, each in operations.items()}
    assert {place: {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}} for place in operations} == refusals
    assert [] == [place for place, each in operations.items() if not each.get("description")]
    assert ["Queue a training", "Delete a dataset with its files and history"] == [
        operations[place]["summary"] for place in (("/projects/{ref}/runs", "post"), ("/v1/datasets/{ref}", "delete"))
    ]
    assert [] == [place for place, each in operations.items() if " " not in each["summary"]], "words for people, not names of functions"


async def test_an_upload_is_described_as_a_form_with_a_file(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]

    for path in ("/v1/datasets/{ref}/files", "/v1/train-config"):
        form: dict[str, Any] = paths[path]["put"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert ("binary", ["file"]) == (form["properties"]["file"]["format"], form["required"])


async def test_the_page_asks_for_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs")).text

    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page)
    assert {"/docs/assets/swagger-ui.css", "/docs/assets/swagger-ui-bundle.js"} <= set(loaded)
    assert [] == re.findall(r"https?://[^\s\"'<>]+", page)


async def test_without_the_files_of_the_page_all_else_works_and_no_folder_is_made_for_them(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "ASSETS", tmp_path / "web" / "swagger-ui")

    async with serving(settings) as api:
        answers = [(await api.get(path)).status_code for path in ("/healthz", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css")]

    assert [200, 200, 200, 404] == answers
    assert not (tmp_path / "web").exists()  # in an image its user may write nothing there


@pytest.mark.skipif(not (ASSETS / "swagger-ui.css").exists(), reason="`make setup` brings the page, where npm is there")
async def test_what_the_page_asks_for_is_here(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs")).text

    for address in re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page):
        answer = await api.get(address)
        assert (200, True) == (answer.status_code, len(answer.content) > 100), address
