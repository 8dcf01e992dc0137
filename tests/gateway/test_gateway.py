"""The gateway: OpenAI's own client, against a real server of ours, before real processes of the toy that stands in for vLLM."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
import uvicorn
from litestar import Litestar
from msgspec.structs import replace

from api.app import create_app
from api.exchange import Exchange
from api.gateway import LARGEST_REQUEST
from domain.deployments.queries import Route
from domain.deployments.vllm import key_of
from domain.errors import Unavailable
from infra.settings import Settings, load
from tests.house import PATIENCE, REPOSITORY
from tests.toy_server import Toy, a_toy, canned
from tests.toys.serve import TOKENS

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: Any = [{"role": "user", "content": "你好 world"}]
TOKEN, KEY = "of-the-house", "of-the-server"


class Door:
    """A gateway that listens, with the routes a test gives it."""

    def __init__(self, app: Litestar, url: str) -> None:
        self.app = app
        self.url = url
        self.routes: list[Route] = []
        self.deployed: set[str] = set()
        self.http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE)
        self.openai = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)

    async def to(self, *toys: Toy) -> None:
        """Lead to these from now on."""

        async def routes() -> Sequence[Route]:
            return self.routes

        async def deployed(model: str) -> bool:
            return model in self.deployed

        self.routes = [toy.route for toy in toys]
        exchange = Exchange(routes, deployed)
        await exchange.look()
        self.app.state.gateway = replace(self.app.state.gateway, exchange=exchange)


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Door]:
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    life = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    door = Door(app, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    try:
        yield door
    finally:
        await door.http.aclose()
        await door.openai.close()
        server.should_exit = True
        await life


async def until(look: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = look()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """Give one server for all tests here that leave it as it was."""
    folder = tmp_path_factory.mktemp("gateway")
    async with listening(load({"HOST_TRAINING_PATH": str(folder), "TRAINING_DB_URL": f"sqlite:///{folder}/training.db"})) as door:
        yield door


@pytest_asyncio.fixture(loop_scope="module")
async def door(shared: Door) -> Door:
    """Give a gateway that leads nowhere yet."""
    shared.deployed = set()
    await shared.to()
    return shared


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "qwen", "messages": HELLO, "max_tokens": 4} | more


async def test_the_stock_client_is_served(door: Door) -> None:
    async with a_toy(names=("qwen", "项目@release")) as toy:
        await door.to(toy)

        chat = await door.openai.chat.completions.create(model="项目@release", messages=HELLO, max_tokens=3)
        text = await door.openai.completions.create(model="qwen", prompt="a b", max_tokens=2)
        vectors = await door.openai.embeddings.create(model="qwen", input=["a", "bb"])
        models = [model.id async for model in door.openai.models.list()]
        model = await door.openai.models.retrieve("项目@release")

    assert "你好 world 你好 " == chat.choices[0].message.content
    assert "a b " == text.choices[0].text
    assert [1.0, 2.0] == [each.embedding[0] for each in vectors.data]
    assert ["qwen", "项目@release"] == models
    assert "项目@release" == model.id


async def test_the_stock_client_streams(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)

        words = [
            part.choices[0].delta.content
            async for part in await door.openai.chat.completions.create(model="qwen", messages=HELLO, max_tokens=3, stream=True)
        ]

    assert ["你好 ", "world ", "你好 ", ""] == words


async def test_a_word_arrives_before_the_next_one_is_thought_of(door: Door) -> None:
    async with a_toy("--pace", "0.3") as toy:
        await door.to(toy)

        stream = await door.openai.chat.completions.create(model="qwen", messages=HELLO, max_tokens=3, stream=True)
        first = await anext(aiter(stream))
        seen = await toy.seen()
        await stream.close()

    assert "你好 " == first.choices[0].delta.content
    assert 1 == seen["tokens"]


async def test_what_is_asked_goes_on_byte_for_byte_and_our_token_does_not(settings: Settings) -> None:
    async with listening(replace(settings, token=TOKEN)) as door, a_toy(key=KEY) as toy:
        await door.to(toy)
        door.app.state.gateway = replace(door.app.state.gateway, key={toy.route.deployment_id: KEY}.get)
        body = json.dumps(ask(nowhere_known={"a": [1.50, "\u2028"]}), indent=3).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": "r-1", "Cookie": "c", "Content-Type": "application/json"}

        answer = await door.http.post("/v1/chat/completions", content=body, headers=headers)
        last = (await toy.seen())["last"]

    assert 200 == answer.status_code, answer.text
    assert toy.route.deployment_id == answer.headers["x-tuneyard-deployment"]
    assert (len(body), json.loads(body)) == (last["bytes"], last["body"])
    assert {"host", "content-length", "content-type", "accept", "x-request-id", "authorization"} == last["headers"].keys()
    assert f"Bearer {KEY}" == last["headers"]["authorization"]


async def test_a_server_without_a_key_is_not_shown_our_token(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)

        await door.http.post("/v1/chat/completions", json=ask(), headers={"Authorization": f"Bearer {TOKEN}"})

        assert "authorization" not in (await toy.seen())["last"]["headers"]


async def test_a_server_is_shown_the_key_that_its_worker_gave_it(settings: Settings) -> None:
    async with listening(replace(settings, token=TOKEN)) as door:
        assert key_of(TOKEN, "d-1") == door.app.state.gateway.key("d-1")


async def test_the_one_with_the_least_to_do_is_asked(door: Door) -> None:
    async with a_toy("--pace", "0.1", names=("qwen", "one")) as one, a_toy(names=("qwen", "other")) as other:
        await door.to(one, other)
        long = asyncio.create_task(door.http.post("/v1/chat/completions", json=ask(model="one", max_tokens=100_000)))
        await until(lambda: counts_are(1, one))

        answers = [await door.http.post("/v1/chat/completions", json=ask()) for _ in range(4)]
        long.cancel()

    assert {other.route.deployment_id} == {answer.headers["x-tuneyard-deployment"] for answer in answers}


async def counts_are(running: int, *toys: Toy) -> bool:
    return {running} == {(await toy.seen())["running"] for toy in toys}


async def test_those_with_equally_little_to_do_take_turns(door: Door) -> None:
    async with a_toy() as one, a_toy() as other:
        await door.to(one, other)

        for _ in range(6):
            assert (await door.http.post("/v1/chat/completions", json=ask())).is_success

        assert [3, 3] == [(await toy.seen())["served"] for toy in (one, other)]


async def test_an_unknown_model_is_a_404_of_openais_shape(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)

        with pytest.raises(openai.NotFoundError) as refused:
            await door.openai.chat.completions.create(model="gpt-4", messages=HELLO)
        with pytest.raises(openai.NotFoundError):
            await door.openai.models.retrieve("gpt-4")

    said = refused.value.response.json()["error"]
    assert {"message", "type", "param", "code"} == said.keys()
    assert ("invalid_request_error", "model", "model_not_found") == (said["type"], said["param"], said["code"])
    assert "those that answer now: qwen" in said["message"]


async def test_a_model_none_of_whose_servers_answers_is_a_503_that_says_when_to_come_again(door: Door) -> None:
    door.deployed.add("qwen")
    await door.to()

    with pytest.raises(openai.InternalServerError) as refused:
        await door.openai.chat.completions.create(model="qwen", messages=HELLO)

    assert 503 == refused.value.status_code
    assert "2" == refused.value.response.headers["retry-after"]
    assert "model_not_ready" == refused.value.code


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": 1}', b'{"model": "\xff"}', b"[" * 100_000])
async def test_a_body_without_a_model_is_a_400_of_openais_shape(door: Door, body: bytes) -> None:
    answer = await door.http.post("/v1/chat/completions", content=body)

    assert 400 == answer.status_code
    assert "`model`" in answer.json()["error"]["message"]


async def test_a_request_may_be_ten_mebibytes_and_no_more(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)
        empty = len(json.dumps(ask(x="")).encode())

        largest = await door.http.post("/v1/chat/completions", content=json.dumps(ask(x="a" * (LARGEST_REQUEST - empty))))
        larger = await door.http.post("/v1/chat/completions", content=json.dumps(ask(x="a" * (LARGEST_REQUEST - empty + 1))))

    assert (200, 413) == (largest.status_code, larger.status_code)
    assert "10,485,760 bytes" in larger.json()["error"]["message"]


async def test_without_the_token_nobody_comes_in(settings: Settings) -> None:
    async with listening(replace(settings, token=TOKEN)) as door:
        with pytest.raises(openai.AuthenticationError) as refused:
            await door.openai.chat.completions.create(model="qwen", messages=HELLO)
        known = await door.openai.with_options(api_key=TOKEN).models.list()

    assert "invalid_api_key" == refused.value.code
    assert [] == known.data


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
async def test_what_the_readme_shows_works(door: Door, readme: str) -> None:
    text = (REPOSITORY / readme).read_text()
    (curl,), (python,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("sh", "python"))
    async with a_toy(names=("运维助手@release",)) as toy:
        await door.to(toy)

        streamed = await printed("bash", "-euc", curl.replace("http://localhost:8000", door.url).replace("curl ", "curl -fsS "))
        said = await printed(sys.executable, "-c", python.replace("http://localhost:8000", door.url))

    assert streamed.endswith("data: [DONE]\n\n")
    assert "你好 " * TOKENS == said


async def printed(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert 0 == process.returncode
    return out.decode()


async def test_an_error_of_the_server_is_passed_on_as_it_is(door: Door) -> None:
    async with a_toy() as toy:
        toy.route = replace(toy.route, names=["alias"])
        await door.to(toy)

        answer = await door.http.post("/v1/chat/completions", json=ask(model="alias"))

    assert 404 == answer.status_code
    assert "The model `alias` does not exist." == answer.json()["error"]["message"]


async def test_a_server_that_dies_in_the_middle_ends_the_stream_with_an_error(door: Door) -> None:
    async with a_toy("--die-after", "2") as toy:
        await door.to(toy)
        stream = await door.openai.chat.completions.create(model="qwen", messages=HELLO, stream=True)

        words = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
        with pytest.raises(openai.APIError, match="broke off"):
            await anext(stream)

    assert ["你好 ", "world "] == words


async def test_a_server_that_breaks_off_an_answer_does_not_look_complete(door: Door) -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}"
    async with canned(said) as port, a_toy() as toy:
        toy.route = replace(toy.route, port=port)
        await door.to(toy)

        with pytest.raises(httpx.RemoteProtocolError):
            await door.http.post("/v1/chat/completions", json=ask())


@pytest.mark.parametrize("stream", [True, False])
async def test_nobody_works_for_a_caller_who_has_left(door: Door, *, stream: bool) -> None:
    async with a_toy("--pace", "0.02") as toy:
        await door.to(toy)
        body = ask(max_tokens=100_000, stream=stream)

        asking = asyncio.create_task(door.http.post("/v1/chat/completions", json=body))
        await until(lambda: counts_are(1, toy))
        asking.cancel()

        await until(lambda: counts_are(0, toy))
        assert 1 == (await toy.seen())["gone"]


async def test_a_server_that_is_gone_costs_nobody_an_answer(door: Door) -> None:
    async with a_toy() as one, a_toy() as other:
        await door.to(one, other)
        for _ in range(4):  # both have warm connections now
            assert (await door.http.post("/v1/chat/completions", json=ask())).is_success

        one.process.kill()

        for _ in range(4):
            answer = await door.http.post("/v1/chat/completions", json=ask())
            assert (200, other.route.deployment_id) == (answer.status_code, answer.headers["x-tuneyard-deployment"])


async def test_a_successor_is_found_the_moment_it_is_needed(door: Door) -> None:
    async with a_toy() as old, a_toy() as new:
        await door.to(old)
        assert (await door.http.post("/v1/chat/completions", json=ask())).is_success

        old.process.kill()
        await asyncio.sleep(0.1)  # what is looked up twice in this time is looked up once
        door.routes = [new.route]

        answer = await door.http.post("/v1/chat/completions", json=ask())
        assert (200, new.route.deployment_id) == (answer.status_code, answer.headers["x-tuneyard-deployment"])


async def test_a_server_that_says_it_cannot_now_is_passed_by(door: Door) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    async with canned(busy) as port, a_toy() as toy, a_toy() as sick:
        sick.route = replace(sick.route, port=port)
        await door.to(sick, toy)

        assert 200 == (await door.http.post("/v1/chat/completions", json=ask())).status_code

        await door.to(sick)
        assert 503 == (await door.http.post("/v1/chat/completions", json=ask())).status_code


async def test_a_caller_who_does_not_read_makes_the_server_wait(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)

        async with door.http.stream("POST", "/v1/chat/completions", json=ask(max_tokens=1_000_000, stream=True)) as answer:
            seen = [-2, -1]
            while seen[-1] != seen[-2]:
                seen.append((await toy.seen())["tokens"])
                await asyncio.sleep(0.5)
            assert answer.is_success

    assert 0 < seen[-1] < 200_000


async def test_a_stream_ends_with_an_error_when_the_server_stops(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.gateway.DRAIN_SECONDS", 0.2)
    async with listening(settings) as door, a_toy("--pace", "0.02") as toy:
        await door.to(toy)
        async with door.http.stream("POST", "/v1/chat/completions", json=ask(max_tokens=100_000, stream=True)) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: {")

            door.app.state.closing.set()

            *_, last, empty = [line async for line in lines]
    assert ("upstream_broke_off", "") == (json.loads(last.removeprefix("data: "))["error"]["code"], empty)


async def test_what_was_known_last_serves_on_while_the_database_is_away(door: Door) -> None:
    async with a_toy() as toy:
        await door.to(toy)
        exchange: Exchange = door.app.state.gateway.exchange

        async def away() -> Sequence[Route]:
            raise Unavailable("the database does not answer")

        exchange._read = away  # noqa: SLF001 - as if it had gone
        await asyncio.sleep(0.1)
        await exchange.look()

        assert (await door.http.post("/v1/chat/completions", json=ask())).is_success


async def test_what_each_holder_asked_is_counted_and_shown_by_day(settings: Settings) -> None:
    async with (
        listening(replace(settings, token=TOKEN)) as door,
        a_toy() as toy,
        a_toy("--break-after", "1", names=("frail",)) as frail,
    ):
        await door.to(toy, frail)
        door.http.headers["Authorization"] = f"Bearer {TOKEN}"

        for body in (ask(), ask(), ask(max_tokens=3, stream=True, stream_options={"include_usage": True}), ask(model="frail", stream=True)):
            await door.http.post("/v1/chat/completions", json=body)
        await door.http.post("/v1/chat/completions", json=ask(model="unknown"))
        await door.app.state.gateway.counts.write(door.app.state.world.db)
        shown = (await door.http.get("/v1/usage")).json()
        later = (await door.http.get("/v1/usage?since=9999-01-01")).json()
        wrong = await door.http.get("/v1/usage?since=yesterday")

    assert [("token", "frail", 1, 1, 0, 0), ("token", "qwen", 3, 0, 3, 11)] == [
        (each["holder"], each["model"], each["requests"], each["failed"], each["prompt_tokens"], each["completion_tokens"])
        for each in shown
    ]
    assert ([], 400) == (later, wrong.status_code)


async def test_counts_that_cannot_be_written_are_kept_for_the_next_time(door: Door) -> None:
    counts, world = door.app.state.gateway.counts, door.app.state.world

    class Away:
        async def run(self, *_: Any) -> None:
            raise Unavailable("the database does not answer")

    counts.note("me", "kept", failed=False, tokens=(1, 2))
    await counts.write(Away())
    counts.note("me", "kept", failed=True, tokens=(0, 0))
    await counts.write(world.db)
    await counts.write(world.db)

    shown = [each for each in (await door.http.get("/v1/usage")).json() if each["model"] == "kept"]
    assert [("me", 2, 1, 1, 2)] == [
        (each["holder"], each["requests"], each["failed"], each["prompt_tokens"], each["completion_tokens"]) for each in shown
    ]
