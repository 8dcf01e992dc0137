"""Hosts over HTTP: who is there and how, with which GPUs, and what an operator may do about it."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from domain.events.actions import events_after
from domain.events.event import Place
from domain.hosts import actions
from domain.hosts.gpu import SeenGpu
from domain.ids import HostName
from domain.processes import actions as processes
from domain.processes.process import Resources
from infra.db.database import Database
from infra.settings import Settings
from tests.conftest import serving
from tests.contracts.databases import keep, opened
from tests.things import HOST, a_process, a_registration

A100 = SeenGpu(number=0, uuid="GPU-a", type="NVIDIA A100-SXM4-80GB", memory_bytes=80 * 2**30, utilization=0.5, memory_used_bytes=20 * 2**30)
GPUS = [A100, SeenGpu(number=1, type=A100.type)]


@pytest.fixture
async def yard(api: httpx.AsyncClient, sqlite_url: str) -> AsyncIterator[Database]:
    """Give the database of an API with three hosts: one with two GPUs, one that is drained, one that has left."""
    assert api
    async with opened(sqlite_url) as db:
        for host in (a_registration(gpus=GPUS), a_registration("主机-2"), a_registration("gone")):
            await db.run(actions.register, host)
        await db.run(actions.drain, "主机-2")
        await db.run(actions.leave, HostName("gone"), 1)
        yield db


async def test_every_host_is_shown_with_its_gpus_and_its_status_in_words(api: httpx.AsyncClient, yard: Database) -> None:
    process = a_process(resources=Resources(gpu_count=1, gpu_type="A100"))
    await yard.run(keep, process)
    await yard.run(processes.place)

    chinese = (await api.get("/v1/hosts")).json()
    english = (await api.get("/v1/hosts", headers={"Accept-Language": "en"})).json()

    assert [("gone", "lost", "失联"), (HOST, "live", "在线"), ("主机-2", "draining", "排空中")] == [_status(host) for host in chinese]
    assert ["Unreachable", "Live", "Draining"] == [host["status_label"] for host in english]
    host = chinese[1]
    times = {name: host.pop(name) for name in ("lease_until", "registered_at")}
    assert times["registered_at"] < times["lease_until"]
    unknown = dict.fromkeys(("uuid", "memory_bytes", "utilization", "memory_used_bytes", "holder", "set_aside"))
    assert {
        "name": HOST,
        "status": "live",
        "status_label": "在线",
        "address": "127.0.0.1",
        "executor": "local",
        "slots": 8,
        "processes": 1,
        "gpus": [
            {
                "number": 0,
                "uuid": "GPU-a",
                "type": "NVIDIA A100-SXM4-80GB",
                "memory_bytes": 80 * 2**30,
                "utilization": 0.5,
                "memory_used_bytes": 20 * 2**30,
                "holder": process.owner_id,
                "set_aside": None,
            },
            {"number": 1, "type": "NVIDIA A100-SXM4-80GB"} | unknown,
        ],
        "folder": "folder",
        "boot_id": "boot",
    } == host
    assert chinese[1] | times == (await api.get(f"/v1/hosts/{HOST}")).json()
    assert "主机-2" == (await api.get("/v1/hosts/主机-2")).json()["name"]


async def test_draining_twice_is_draining_once_and_is_recorded(api: httpx.AsyncClient, yard: Database) -> None:
    before = len(await _kinds(yard))

    drained = [await api.post(f"/v1/hosts/{HOST}/drain") for _ in range(2)]
    back = [await api.post(f"/v1/hosts/{HOST}/undrain") for _ in range(2)]

    assert [(200, "draining")] * 2 == [(answer.status_code, answer.json()["status"]) for answer in drained]
    assert [(200, "live")] * 2 == [(answer.status_code, answer.json()["status"]) for answer in back]
    assert ["host.drained", "host.undrained"] == (await _kinds(yard))[before:]


async def test_a_drained_host_keeps_what_it_has_and_is_given_nothing_until_it_is_undrained(api: httpx.AsyncClient, yard: Database) -> None:
    first, second = a_process(), a_process()
    await yard.run(keep, first)
    await yard.run(processes.place)

    await api.post(f"/v1/hosts/{HOST}/drain")
    await yard.run(keep, second)
    while_drained = await yard.run(processes.place)
    on_hand = await yard.read(processes.on_hand, HOST)
    await api.post(f"/v1/hosts/{HOST}/undrain")
    await yard.run(processes.place)

    assert 0 == while_drained
    assert [first.id] == [process.id for process in on_hand]
    assert {first.id, second.id} == {process.id for process in await yard.read(processes.on_hand, HOST)}


async def test_a_host_stays_drained_when_its_worker_registers_again(api: httpx.AsyncClient, yard: Database) -> None:
    again = await yard.run(actions.register, a_registration("主机-2"))

    assert 2 == again.lease
    assert "draining" == (await api.get("/v1/hosts/主机-2")).json()["status"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/drain"), ("POST", "/undrain"), ("POST", "/gpus/0/return")],
    ids=["show", "drain", "undrain", "gpu"],
)
async def test_an_unknown_host_is_not_found(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, f"/v1/hosts/nowhere{path}")

    assert (404, "there is no host nowhere") == (answer.status_code, answer.json()["detail"])


async def test_a_gpu_that_is_set_aside_is_given_to_nobody_until_it_is_returned(api: httpx.AsyncClient, yard: Database) -> None:
    holder, next_one = (a_process(resources=Resources(gpu_count=2)) for _ in range(2))
    await yard.run(keep, holder)
    await yard.run(processes.place)
    await yard.run(lambda tx: tx.gpus.set_aside(holder.id, "pids 7 could not be killed"))
    await yard.run(lambda tx: processes.end(tx, tx.processes.of(holder.owner_id)))
    await yard.run(keep, next_one)
    before = await yard.run(processes.place)

    aside = (await api.get(f"/v1/hosts/{HOST}")).json()["gpus"]
    returned = [await api.post(f"/v1/hosts/{HOST}/gpus/{number}/return") for number in (0, 1)]
    again = await api.post(f"/v1/hosts/{HOST}/gpus/0/return")
    no_such = await api.post(f"/v1/hosts/{HOST}/gpus/7/return")

    assert 0 == before
    assert [(None, "pids 7 could not be killed")] * 2 == [(gpu["holder"], gpu["set_aside"]) for gpu in aside]
    assert [(200, [None, "pids 7 could not be killed"]), (200, [None, None])] == [
        (answer.status_code, [gpu["set_aside"] for gpu in answer.json()["gpus"]]) for answer in returned
    ]
    assert (409, "GPU 0 of host gpu-1 is not set aside") == (again.status_code, again.json()["detail"])
    assert (404, "host gpu-1 has no GPU 7") == (no_such.status_code, no_such.json()["detail"])
    assert ["gpu.returned", "gpu.returned"] == (await _kinds(yard))[-2:]
    await yard.run(processes.place)
    assert [next_one.owner_id] * 2 == [gpu["holder"] for gpu in (await api.get(f"/v1/hosts/{HOST}")).json()["gpus"]]


async def test_what_is_not_free_and_what_is_no_number_is_not_returned(api: httpx.AsyncClient, yard: Database) -> None:
    holder = a_process(resources=Resources(gpu_count=1))
    await yard.run(keep, holder)
    await yard.run(processes.place)
    (held,) = await yard.read(lambda tx: tx.gpus.held_by(holder.id))

    assert 409 == (await api.post(f"/v1/hosts/{HOST}/gpus/{held.number}/return")).status_code
    assert 404 == (await api.post(f"/v1/hosts/{HOST}/gpus/x/return")).status_code
    assert [held] == await yard.read(lambda tx: tx.gpus.held_by(holder.id))


async def test_a_restarted_machine_gets_its_gpus_back(api: httpx.AsyncClient, yard: Database) -> None:
    holder = a_process(resources=Resources(gpu_count=2))
    await yard.run(keep, holder)
    await yard.run(processes.place)
    await yard.run(lambda tx: tx.gpus.set_aside(holder.id, "pids 7 could not be killed"))
    (lease,) = [host.lease for host, _ in await yard.read(lambda tx: tx.hosts.all()) if host.id == HOST]
    await yard.run(actions.leave, HOST, lease)

    await yard.run(actions.register, a_registration(gpus=GPUS))
    same_boot = (await api.get(f"/v1/hosts/{HOST}")).json()["gpus"]
    await yard.run(actions.leave, HOST, lease + 1)
    await yard.run(actions.register, a_registration(gpus=GPUS, boot_id="another"))

    assert all(gpu["set_aside"] for gpu in same_boot)
    assert [None, None] == [gpu["set_aside"] for gpu in (await api.get(f"/v1/hosts/{HOST}")).json()["gpus"]]


async def test_a_blob_is_given_by_its_sum_and_nothing_else_is(api: httpx.AsyncClient, settings: Settings) -> None:
    content = b'{"messages": []}\n'
    digest = sha256(content).hexdigest()
    await api.post("/v1/datasets", json={"name": "d", "task_type": "sft"})
    await api.put("/v1/datasets/d/files", files={"file": ("a.jsonl", content)})
    (Path(settings.training_path) / "blobs" / "secret").write_text("not a blob")

    found = await api.get(f"/_internal/blobs/{digest}.jsonl")
    others = [
        await api.get(f"/_internal/blobs/{name}") for name in (digest, f"{digest}.txt", "0" * 64, "secret", "..%2Fsecret", digest[:63])
    ]

    assert (200, content) == (found.status_code, found.content)
    assert [404, 404, 404, 400, 404, 400] == [answer.status_code for answer in others]


async def test_a_blob_is_only_given_to_who_shows_the_token(settings: Settings) -> None:
    async with serving(replace(settings, token="t")) as closed:  # noqa: S106 - a test's
        assert 401 == (await closed.get(f"/_internal/blobs/{'0' * 64}")).status_code


def _status(host: dict[str, Any]) -> tuple[str, str, str]:
    return host["name"], host["status"], host["status_label"]


async def _kinds(db: Database) -> list[str]:
    """What was recorded of hosts and GPUs."""
    return [event.kind for event in await db.read(events_after, Place(), limit=100) if event.kind.startswith(("host.", "gpu."))]
