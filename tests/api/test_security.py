"""Who may come in: without a token this very machine and no page of another site, with one whoever shows it."""

import httpx
import pytest
from msgspec.structs import replace

from api.problems import MEDIA_TYPE
from api.security import is_loopback, require_safe_binding
from infra.settings import Settings, SettingsError, load
from tests.conftest import serving

TOKEN = "3f9c0b5e"


async def statuses(api: httpx.AsyncClient, *headers: dict[str, str]) -> list[int]:
    return [(await api.get("/projects", headers=each)).status_code for each in headers]


async def test_without_a_token_this_machine_may_come_in_under_its_own_names(api: httpx.AsyncClient) -> None:
    hosts = ("localhost", "localhost:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "house.localhost")

    assert [200] * len(hosts) == await statuses(api, *({"Host": host} for host in hosts))


async def test_without_a_token_no_other_name_is_answered(api: httpx.AsyncClient) -> None:
    """A name that somebody else's DNS points here would make this server part of their site."""
    hosts = (
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "192.0.2.7",
        "",
        "[",
        "[::1",
    )

    assert [401] * len(hosts) == await statuses(api, *({"Host": host} for host in hosts))


async def test_without_a_token_pages_of_this_machine_may_come_in_and_no_others(api: httpx.AsyncClient) -> None:
    assert [200, 200, 200] == await statuses(
        api, {"Origin": "http://localhost:3000"}, {"Origin": "http://127.0.0.1"}, {"Sec-Fetch-Site": "same-origin"}
    )
    strangers = ("https://evil.example", "http://localhost.evil.example", "null", "http://[", "localhost")
    assert [401] * len(strangers) == await statuses(api, *({"Origin": page} for page in strangers))
    assert [401] == await statuses(api, {"Sec-Fetch-Site": "cross-site"})


async def test_without_a_token_nobody_comes_in_through_another_address(settings: Settings) -> None:
    async with serving(settings, "http://192.0.2.7:8000") as api:
        answer = await api.get("/projects", headers={"Host": "localhost"})

    assert (401, MEDIA_TYPE, "Bearer") == (answer.status_code, answer.headers["Content-Type"], answer.headers["WWW-Authenticate"])
    assert "TUNEYARD_TOKEN" in answer.json()["detail"]


async def test_a_refusal_changes_nothing(api: httpx.AsyncClient) -> None:
    refused = await api.post("/projects", json={"name": "p"}, headers={"Origin": "https://evil.example"})

    assert 401 == refused.status_code
    assert [] == (await api.get("/projects")).json()


async def test_with_a_token_whoever_shows_it_may_come_in_from_anywhere(settings: Settings) -> None:
    async with serving(replace(settings, token=TOKEN), "http://192.0.2.7:8000") as api:
        shown = {"Authorization": f"Bearer {TOKEN}"}
        wrong = [
            "",
            TOKEN,
            "Bearer",
            "Bearer ",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer " + "x" * 5000,
            "Bearer é",
        ]

        refused = [await api.get("/projects", headers={b"Authorization": text.encode()}) for text in wrong]
        created = await api.post(
            "/projects", json={"name": "p"}, headers=shown | {"Host": "train.example", "Origin": "https://train.example"}
        )

        assert [(401, "Bearer")] * len(wrong) == [(each.status_code, each.headers["WWW-Authenticate"]) for each in refused]
        assert (201, ["token"]) == (created.status_code, [each["by"] for each in created.json()["versions"]])
        assert 200 == (await api.get("/projects", headers={"authorization": f"bearer  {TOKEN}"})).status_code
        assert 401 == (await api.get("/projects", headers={"Host": "localhost"})).status_code


def test_a_server_beyond_loopback_needs_a_token_to_start() -> None:
    for bind in ("0.0.0.0", "::", "192.0.2.7", "train.example"):  # noqa: S104 - what is refused
        with pytest.raises(SettingsError, match=r"set TUNEYARD_TOKEN to a long random text .*openssl rand") as refusal:
            require_safe_binding(load({"TUNEYARD_BIND": bind}))
        assert f"listening on {bind} " in str(refusal.value)
        require_safe_binding(load({"TUNEYARD_BIND": bind, "TUNEYARD_TOKEN": TOKEN}))
    for bind in ("127.0.0.1", "::1", "localhost"):
        require_safe_binding(load({"TUNEYARD_BIND": bind}))


def test_only_this_machine_is_loopback() -> None:
    names = {
        name: is_loopback(name) for name in ("localhost", "a.localhost", "127.0.0.1", "::1", "[::1]", "localhosts", "127.1", "10.0.0.1", "")
    }

    assert dict.fromkeys(("localhost", "a.localhost", "127.0.0.1", "::1", "[::1]"), True) == {
        name: True for name, is_it in names.items() if is_it
    }
