"""Training configs over HTTP: the documents' one config, and the named collection behind it."""

from datetime import datetime
from typing import Any, Literal

from litestar import Controller, Request, delete, get, put
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct

from api.provide import Caller, TheCaller
from api.upload import FileUpload, keep_file
from domain.errors import Flaw, Invalid
from domain.files import Kept
from domain.train_configs import actions
from domain.train_configs.train_config import TrainConfig


class TrainConfigInfo(Struct, frozen=True, kw_only=True):
    """A training config, without its content."""

    filename: str
    uploaded_at: datetime
    size: int


class TrainConfigUploaded(Struct, frozen=True, kw_only=True):
    """A config that has arrived."""

    train_config: TrainConfigInfo


class TrainConfigDeleted(Struct, frozen=True, kw_only=True):
    """A config that is out of use."""

    status: Literal["train_config_deleted"] = "train_config_deleted"


class TrainConfigController(Controller):
    """The documents' one training config: the newest upload."""

    path = "/v1/train-config"
    tags = ("train configs",)

    @put(status_code=HTTP_200_OK, request_max_body_size=None, operation_class=FileUpload)
    async def upload_config(self, request: Request[Any, Any, Any], caller: TheCaller) -> TrainConfigUploaded:
        """Upload a `.yaml` or `.yml` (multipart, field `file`); one that cannot be read safely is refused with the line."""
        kept, values = await keep_yaml(request, caller)
        return TrainConfigUploaded(train_config=config_info(await caller.db.run(actions.upload, kept, values)))

    @get()
    async def get_config(self, caller: TheCaller) -> TrainConfigInfo:
        """Show the config in use."""
        return config_info(await caller.db.read(actions.current))

    @delete(status_code=HTTP_200_OK)
    async def delete_config(self, caller: TheCaller) -> TrainConfigDeleted:
        """Take the config out of use; runs keep what they froze."""
        await caller.db.run(actions.delete_current)
        return TrainConfigDeleted()


class TrainConfigsController(Controller):
    """Every named training config."""

    path = "/v1/train-configs"
    tags = ("train configs",)

    @get()
    async def list_configs(self, caller: TheCaller) -> list[TrainConfig]:
        """List the newest version of each config; a project names one as `configs/<filename>`."""
        return await caller.db.read(actions.list_configs)

    @get("/{filename:str}")
    async def get_named_config(self, caller: TheCaller, filename: FromPath[str]) -> TrainConfig:
        """Show the newest version of a config with its values."""
        return await caller.db.read(actions.get, filename)

    @delete("/{filename:str}", status_code=HTTP_200_OK)
    async def delete_named_config(self, caller: TheCaller, filename: FromPath[str]) -> TrainConfigDeleted:
        """Take every version of a config out of use; runs keep what they froze."""
        await caller.db.run(actions.delete, filename)
        return TrainConfigDeleted()


def config_info(config: TrainConfig) -> TrainConfigInfo:
    """Return a config as the documents show it."""
    return TrainConfigInfo(filename=config.filename, uploaded_at=config.uploaded_at, size=config.size)


async def keep_yaml(request: Request[Any, Any, Any], caller: Caller) -> tuple[Kept, dict[str, Any]]:
    """Keep an uploaded YAML that can be read safely; Invalid, with the line, when it cannot."""
    kept = await keep_file(request, caller, caller.world.settings.max_yaml_bytes)
    if not kept.name.lower().endswith((".yaml", ".yml")):
        message = f"{kept.name} is not a .yaml or .yml file"
        raise Invalid(message, [Flaw("file", message)])
    return kept, await caller.world.library.yaml_values(kept)
