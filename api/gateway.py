"""One door for the models: the addresses of OpenAI's API, each request passed on to a deployment of the model it names.

A body is read once, for the name of its model, and goes on byte for byte; errors of our own have the shape that OpenAI's clients know.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct

from api.exchange import Exchange
from api.problems import RETRY_SECONDS, STATUS
from api.relay import Errand, Gateway, Relay
from api.usage import Counts
from domain.deployments import queries
from domain.deployments.vllm import key_of
from domain.errors import DomainError, Invalid, NotFound, Unauthorized, Unavailable
from infra.upstream import Upstream
from infra.wiring import World

log = logging.getLogger(__name__)

LARGEST_REQUEST = 10 * 1024 * 1024
"""Bytes: a conversation of a million tokens, or a few pictures."""
DRAIN_SECONDS = 4.0
"""How long answers may still go on when the server stops: it waits for them a second longer (`api/__main__.py`)."""
FORWARDED = frozenset({b"accept", b"content-type", b"x-request-id"})
"""What a model's server is told of a request's head. Not who asks: our token is for us alone."""


class Said(Struct, frozen=True, kw_only=True):
    """What went wrong, as OpenAI says it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Refusal(Struct, frozen=True):
    """An error as OpenAI's clients read it."""

    error: Said


class Model(Struct, frozen=True, kw_only=True):
    """A model that answers now."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "tuneyard"


class Models(Struct, frozen=True, kw_only=True):
    """The models that answer now."""

    object: str = "list"
    data: list[Model]


class _Asked(Struct):
    model: str


class PassedOn(Operation):
    """An operation whose body and answer are the model server's own."""

    def __post_init__(self) -> None:
        """Describe the body: only `model` means something here."""
        model = Schema(type=OpenAPIType.STRING, description="A name that `GET /v1/models` lists.")
        body = Schema(type=OpenAPIType.OBJECT, properties={"model": model}, required=["model"])
        self.request_body = RequestBody({"application/json": OpenAPIMediaType(body)}, required=True)


def refuse(request: Request[Any, Any, Any], error: DomainError) -> Response[Refusal]:
    """Say an error of ours in OpenAI's shape."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    type_ = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - where HTTP draws the line
    code = error.facts.get("code") or ("invalid_api_key" if isinstance(error, Unauthorized) else error.kind.replace("-", "_"))
    headers = {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, Unavailable) else {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    del request
    return _refusal(status, Said(message=error.detail, type=type_, param=error.facts.get("param"), code=code), headers)


def _refuse_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Refusal]:
    del request
    return _refusal(error.status_code, Said(message=str(error.detail), type="invalid_request_error"), dict(error.headers or {}))


def _break(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _refusal(500, Said(message="something broke on our side; the server's log has the details", type="server_error"), {})


def _refusal(status: int, said: Said, headers: dict[str, str]) -> Response[Refusal]:
    return Response(Refusal(said), status_code=status, headers=headers, media_type=MediaType.JSON)


class GatewayController(Controller):
    """What OpenAI's clients ask."""

    path = "/v1"
    tags = ("gateway",)
    exception_handlers = {DomainError: refuse, HTTPException: _refuse_http, Exception: _break}  # noqa: RUF012 - as Litestar declares it
    request_max_body_size = LARGEST_REQUEST
    responses = {  # noqa: RUF012 - as Litestar declares it
        404: ResponseSpec(Refusal, description="No model of that name."),
        503: ResponseSpec(Refusal, description="None of the model's servers answers now."),
    }

    @get("/models")
    async def list_models(self, state: State) -> Models:
        """List the models that answer now."""
        exchange: Exchange = state.gateway.exchange
        await exchange.look()
        return Models(data=[Model(id=name, created=int(route.created_at.timestamp())) for name, route in exchange.models().items()])

    @get("/models/{name:path}")
    async def get_model(self, state: State, name: FromPath[str]) -> Model:
        """Show a model that answers now."""
        exchange: Exchange = state.gateway.exchange
        await exchange.look()
        wanted = name.removeprefix("/")
        for each, route in exchange.models().items():
            if wanted == each:
                return Model(id=each, created=int(route.created_at.timestamp()))
        message = f"the model {wanted!r} does not exist, or does not answer now"
        raise NotFound(message, param="model", code="model_not_found")

    @post("/chat/completions", operation_class=PassedOn, status_code=HTTP_200_OK)
    async def chat(self, request: Request[Any, Any, Any], state: State) -> Relay:
        """Let a model go on with a conversation; streamed with `stream: true`."""
        return await _relay(request, state)

    @post("/completions", operation_class=PassedOn, status_code=HTTP_200_OK)
    async def complete(self, request: Request[Any, Any, Any], state: State) -> Relay:
        """Let a model go on with a text; streamed with `stream: true`."""
        return await _relay(request, state)

    @post("/embeddings", operation_class=PassedOn, status_code=HTTP_200_OK)
    async def embed(self, request: Request[Any, Any, Any], state: State) -> Relay:
        """Turn texts into vectors."""
        return await _relay(request, state)


@asynccontextmanager
async def open_gateway(world: World, closing: asyncio.Event) -> AsyncIterator[Gateway]:
    """Keep the routes fresh; once the server is told to stop, let answers go on for a moment, then end them."""
    exchange = Exchange(lambda: world.db.read(queries.routes), lambda model: world.db.read(queries.deployed, model))
    token = world.settings.token
    gateway = Gateway(exchange=exchange, upstream=Upstream(), counts=Counts(), key=partial(key_of, token) if token else lambda _: None)
    works = (exchange.keep_looking(world.news), gateway.counts.keep_writing(world.db), _close(gateway.upstream, closing))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield gateway
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gateway.upstream.close()
        await gateway.counts.write(world.db)


async def _close(upstream: Upstream, closing: asyncio.Event) -> None:
    await closing.wait()
    await asyncio.sleep(DRAIN_SECONDS)
    upstream.close()


async def _relay(request: Request[Any, Any, Any], state: State) -> Relay:
    body = await request.body()
    headers = [header for header in request.scope["headers"] if header[0] in FORWARDED]
    return Relay(Errand(request.user.name, _model(body), request.scope["path"], body, headers), state.gateway)


def _model(body: bytes) -> str:
    """Read which model is asked; all else is the server's business."""
    try:
        return msgspec.json.decode(body, type=_Asked).model
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as wrong:
        message = f"the body must be a JSON object that names its `model` ({wrong})"
        raise Invalid(message, param="model") from None
