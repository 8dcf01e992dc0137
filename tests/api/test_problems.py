"""Every error has the one shape of RFC 9457, whatever went wrong and wherever."""

from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get

from api import problems
from api.problems import MEDIA_TYPE
from domain.errors import Conflict, Invalid, NotFound, Unavailable


async def refused(api: httpx.AsyncClient, method: str, address: str, **request: Any) -> dict[str, Any]:
    """The problem that a request meets, its shape checked."""
    answer = await api.request(method, address, **request)
    problem: dict[str, Any] = answer.json()
    assert MEDIA_TYPE == answer.headers["Content-Type"]
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert answer.status_code == problem["status"]
    assert problem["type"].startswith("urn:tuneyard:")
    assert problem["detail"]
    return problem


async def test_every_error_is_a_problem(api: httpx.AsyncClient) -> None:
    await api.post("/projects", json={"name": "p"})

    seen = [
        await refused(api, "POST", "/projects", json={}),
        await refused(api, "GET", "/projects?page=0"),
        await refused(api, "GET", "/projects/nope"),
        await refused(api, "GET", "/nowhere"),
        await refused(api, "GET", "/projects/p/nowhere"),
        await refused(api, "DELETE", "/projects"),
        await refused(api, "POST", "/projects", json={"name": "p"}),
        await refused(api, "POST", "/projects", content=b" " * 10_000_000),
    ]

    assert [
        (400, "urn:tuneyard:invalid"),
        (400, "urn:tuneyard:invalid"),
        (404, "urn:tuneyard:not-found"),
        (404, "urn:tuneyard:not-found"),
        (404, "urn:tuneyard:not-found"),
        (405, "urn:tuneyard:method-not-allowed"),
        (409, "urn:tuneyard:conflict"),
        (413, "urn:tuneyard:too-large"),
    ] == [(problem["status"], problem["type"]) for problem in seen]
    titles = {problem["type"]: problem["title"] for problem in seen}
    assert titles == {problem["type"]: problem["title"] for problem in reversed(seen)}, "one type has one title"


async def test_a_wrong_method_is_told_the_right_ones(api: httpx.AsyncClient) -> None:
    answer = await api.delete("/projects")

    assert {"GET", "POST", "OPTIONS"} == set(answer.headers["Allow"].split(", "))


FACTS = {"status": "running", "type": "x", "title": "x", "detail": "x", "errors": "x"}


@pytest.mark.parametrize(("error", "status"), [(Conflict, 409), (NotFound, 404), (Invalid, 400), (Unavailable, 503)])
async def test_facts_never_take_the_place_of_what_a_problem_says(error: Any, status: int) -> None:
    @get("/")
    async def fail() -> None:
        raise error("as it is", **{name: value for name, value in FACTS.items() if name != "detail"}, run="run_1")

    app = Litestar([fail], plugins=[problems.plugin()], openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://house") as client:
        answer = await client.get("/")

    assert (status, status, "as it is", "run_1") == (answer.status_code, *(answer.json()[each] for each in ("status", "detail", "run")))
    assert error.title == answer.json()["title"]
    assert "errors" not in answer.json()
    assert (status == 503) == ("Retry-After" in answer.headers)


async def test_an_error_of_ours_tells_nothing_but_that() -> None:
    @get("/")
    async def fail() -> None:
        message = "the password is swordfish"
        raise RuntimeError(message)

    app = Litestar([fail], plugins=[problems.plugin()], exception_handlers={Exception: problems.unexpected}, openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://house") as client:
        problem = await refused(client, "GET", "/")

    assert (500, "urn:tuneyard:internal") == (problem["status"], problem["type"])
    assert "swordfish" not in str(problem)
