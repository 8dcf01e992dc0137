"""The versions of training configs over HTTP: their values, their text, and what differs between two of them."""

import asyncio
from difflib import unified_diff
from typing import Annotated, Any

from litestar import Controller, HttpMethod, Request, get, route
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from msgspec import Struct

from api.download import BYTES, Download, answer
from api.provide import Caller, TheCaller
from domain.train_configs import actions
from domain.train_configs.difference import ValueChange, difference
from domain.train_configs.train_config import TrainConfig
from infra.files.content import Content, content_of_blob


class ConfigDiff(Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """What differs between two versions of a config."""

    filename: str
    before: int
    after: int
    values: list[ValueChange]
    text: str
    """As `diff -u` says it, comments included; empty when the text is the same."""


class TrainConfigVersionController(Controller):
    """What people may ask of the versions of a config."""

    path = "/v1/train-configs/{filename:str}"
    tags = ("train configs",)

    @get("/versions")
    async def list_config_versions(self, caller: TheCaller, filename: FromPath[str]) -> list[TrainConfig]:
        """List every version of a config with its values, newest first."""
        return await caller.db.read(actions.versions, filename)

    @get("/versions/{number:int}")
    async def get_config_version(self, caller: TheCaller, filename: FromPath[str], number: FromPath[int]) -> TrainConfig:
        """Show one version of a config with its values."""
        return await caller.db.read(actions.version, filename, number)

    @get("/diff")
    async def compare_config_versions(
        self,
        caller: TheCaller,
        filename: FromPath[str],
        before: Annotated[int | None, QueryParameter(name="from", description="The version to compare; else the one before `to`.")] = None,
        after: Annotated[int | None, QueryParameter(name="to", description="With this one; else the newest.")] = None,
    ) -> ConfigDiff:
        """Show what differs between two versions: every value, and the text."""
        new = await caller.db.read(actions.version, filename, after)
        old = await caller.db.read(actions.version, filename, new.version - 1 if before is None else before)
        text = await asyncio.to_thread(_compared, caller, old, new)
        return ConfigDiff(filename=filename, before=old.version, after=new.version, values=difference(old.values, new.values), text=text)

    @route(
        "/content",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        responses={206: ResponseSpec(bytes, description="The range asked for.", media_type=BYTES)},
        media_type=BYTES,
    )
    async def get_config_content(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        filename: FromPath[str],
        version: Annotated[int | None, QueryParameter(description="Which version; else the newest.")] = None,
        wanted: Annotated[str | None, HeaderParameter(name="Range", description="One range of bytes.")] = None,
        only_if: Annotated[str | None, HeaderParameter(name="If-Range", description="An ETag: the range only if it is still this.")] = None,
    ) -> Download:
        """Give a config as it was uploaded, comments and all."""
        content = await asyncio.to_thread(_content, caller, await caller.db.read(actions.version, filename, version))
        return answer(content, wanted, only_if, head=request.method == HttpMethod.HEAD, closing=caller.closing)


def _content(caller: Caller, config: TrainConfig) -> Content:
    store = caller.world.store
    stored_name = store.path_of(config.sha256, config.filename).relative_to(store.root).as_posix()
    return content_of_blob(store.root, stored_name, config.filename, config.sha256)


def _compared(caller: Caller, old: TrainConfig, new: TrainConfig) -> str:
    lines = unified_diff(_lines(caller, old), _lines(caller, new), f"{old.filename}@{old.version}", f"{new.filename}@{new.version}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(caller: Caller, config: TrainConfig) -> list[str]:
    content = _content(caller, config)
    return content.read(0, content.size).decode("utf-8-sig").splitlines(keepends=True)
