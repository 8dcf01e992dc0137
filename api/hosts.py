"""Hosts over HTTP: who is there, with which GPUs, held by whom; drain one, return a GPU."""

from datetime import datetime
from typing import Any

from litestar import Controller, get, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct
from msgspec.structs import asdict

from api.provide import Caller, TheCaller
from domain.hosts import actions
from domain.hosts.gpu import Gpu
from domain.hosts.host import HostStatus
from domain.processes import yard
from domain.processes.yard import SeenHost


class GpuDetail(Struct, frozen=True, kw_only=True):
    """A GPU as it is shown."""

    number: int
    uuid: str | None
    type: str
    memory_bytes: int | None
    memory_used_bytes: int | None
    utilization: float | None
    """0 to 1."""
    holder: str | None
    """The run that it is given to."""
    set_aside: str | None
    """Why it is given to nobody."""


class HostDetail(Struct, frozen=True, kw_only=True):
    """A host as it is shown."""

    name: str
    status: HostStatus
    status_label: str
    address: str
    executor: str
    slots: int
    processes: int
    """Placed, starting or alive there."""
    gpus: list[GpuDetail]
    folder: str
    """Hosts that share the training folder share this id."""
    boot_id: str
    lease_until: datetime
    registered_at: datetime


class HostController(Controller):
    """Hosts."""

    path = "/v1/hosts"
    tags = ("hosts",)

    @get()
    async def list_hosts(self, caller: TheCaller) -> list[HostDetail]:
        """List the hosts with their GPUs."""
        return [_detail(each, caller) for each in await caller.db.read(yard.shown)]

    @get("/{host:str}")
    async def show_host(self, caller: TheCaller, host: FromPath[str]) -> HostDetail:
        """Show one host."""
        return _detail(await caller.db.read(yard.shown_one, host), caller)

    @post("/{host:str}/drain", status_code=HTTP_200_OK)
    async def drain_host(self, caller: TheCaller, host: FromPath[str]) -> HostDetail:
        """Place nothing new on a host; what runs goes on."""
        await caller.db.run(actions.drain, host)
        return await self._shown(caller, host)

    @post("/{host:str}/undrain", status_code=HTTP_200_OK)
    async def undrain_host(self, caller: TheCaller, host: FromPath[str]) -> HostDetail:
        """Place on a host again."""
        await caller.db.run(actions.undrain, host)
        return await self._shown(caller, host)

    @post("/{host:str}/gpus/{number:int}/return", status_code=HTTP_200_OK)
    async def return_gpu(self, caller: TheCaller, host: FromPath[str], number: FromPath[int]) -> HostDetail:
        """Give a GPU again that was set aside because something on it could not be killed."""
        await caller.db.run(actions.return_gpu, host, number)
        return await self._shown(caller, host)

    @staticmethod
    async def _shown(caller: Caller, host: str) -> HostDetail:
        return _detail(await caller.db.read(yard.shown_one, host), caller)


def _detail(seen: SeenHost, caller: Caller) -> HostDetail:
    facts = asdict(seen.host)
    shown = {name: facts[name] for name in ("address", "executor", "slots", "folder", "boot_id", "lease_until", "registered_at")}
    return HostDetail(
        name=seen.host.id,
        status=seen.status,
        status_label=seen.status.label(caller.language),
        processes=seen.processes,
        gpus=[_gpu(gpu, seen.owners.get(gpu.number)) for gpu in seen.gpus],
        **shown,
    )


def _gpu(gpu: Gpu, owner: str | None) -> GpuDetail:
    facts: dict[str, Any] = asdict(gpu) | {"holder": owner}
    del facts["host"]
    return GpuDetail(**facts)
