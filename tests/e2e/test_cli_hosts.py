"""`tuneyard hosts` against a real server and a real worker: what an operator sees and does on a terminal, and what programs read."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contracts.databases import opened
from tests.house import PATIENCE, House, eventually

Tuneyard = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[House]:
    """Give a house whose host has two GPUs, for all tests of this module."""
    folder = tmp_path_factory.mktemp("house")
    settings = {"TUNEYARD_HOST": "gpu-1", "TUNEYARD_ADDRESS": "127.0.0.2", "TUNEYARD_GPUS": "2", "TUNEYARD_GPU_TYPE": "A100"}
    house = House(folder, f"sqlite:///{folder}/training.db", redis_url, **settings).start()
    house.project(script='echo lives; while [ ! -e "$TUNEYARD_RUN_ID.gate" ]; do sleep 0.05; done')
    yield house
    house.close()


@pytest.fixture(scope="module")
def tuneyard(house: House) -> Tuneyard:
    """Run a command of `tuneyard hosts` to its end."""
    environment = house.environment | {"TUNEYARD_URL": house.url, "LC_ALL": "C.UTF-8"}

    def run(*arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-P", "-m", "tuneyard", "hosts", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment | extra, timeout=PATIENCE, check=False)

    return run


def test_hosts_are_listed_with_their_status_and_who_holds_what(house: House, tuneyard: Tuneyard) -> None:
    run = house.launch("项目", resources={"gpu_count": 1})
    eventually(lambda: house.run("项目", run)["status"] == "running")

    english, chinese = tuneyard("list"), tuneyard("list", LC_ALL="zh_CN.UTF-8")
    (host,) = json.loads(tuneyard("list", "--json").stdout)

    assert (0, 0) == (english.returncode, chinese.returncode), english.stderr
    _, first, second = english.stdout.splitlines()
    assert ["gpu-1", "Live", "127.0.0.2", "local", "1/8", "0", "A100:", host["gpus"][0]["holder"]] == first.split()
    assert ["1", "A100:", "free"] == second.split()
    assert "在线" in chinese.stdout
    assert house.ok("GET", "/v1/hosts/gpu-1", headers={"Accept-Language": "en"})["gpus"] == host["gpus"]
    assert ["A100", "A100"] == [gpu["type"] for gpu in host["gpus"]]
    assert [True, False] == [gpu["holder"] is not None for gpu in host["gpus"]]
    _end(house, run)


def test_a_host_is_drained_and_undrained(house: House, tuneyard: Tuneyard) -> None:
    going_on = house.launch("项目")
    eventually(lambda: house.run("项目", going_on)["status"] == "running")

    drained = [tuneyard("drain", "gpu-1") for _ in range(2)]
    kept_out = house.launch("项目")

    assert [0, 0] == [done.returncode for done in drained], drained[0].stderr
    assert "Draining" in drained[1].stdout
    _end(house, going_on)
    assert ("queued", "hosts_away") == ((run := house.run("项目", kept_out))["status"], run["waiting"]["reason"])
    (undrained,) = json.loads(tuneyard("undrain", "gpu-1", "--json").stdout)
    assert "live" == undrained["status"]
    _end(house, kept_out)


async def test_a_gpu_is_returned(house: House, tuneyard: Tuneyard) -> None:
    run = house.launch("项目", resources={"gpu_count": 2})
    eventually(lambda: house.run("项目", run)["status"] == "running")
    async with opened(house.environment["TRAINING_DB_URL"]) as db:
        process = await db.read(lambda tx: tx.processes.of(house.run("项目", run)["id"]))
        await db.run(lambda tx: tx.gpus.set_aside(process.id, "pids 7 could not be killed"))
    _end(house, run)

    listed = tuneyard("list")
    returned = [tuneyard("return-gpu", "gpu-1", str(number), "--json") for number in (0, 1)]
    again = tuneyard("return-gpu", "gpu-1", "1")

    assert 2 == listed.stdout.count("A100: set aside, pids 7 could not be killed")
    assert [0, 0] == [done.returncode for done in returned], returned[0].stderr
    assert [1, 0] == [_set_aside(json.loads(done.stdout)[0]) for done in returned]
    assert 0 < again.returncode
    assert "GPU 1 of host gpu-1 is not set aside" in again.stderr


@pytest.mark.parametrize("command", [("drain", "nowhere"), ("undrain", "nowhere"), ("return-gpu", "nowhere", "0")])
def test_an_unknown_host_is_said_to_be_unknown(tuneyard: Tuneyard, command: tuple[str, ...]) -> None:
    done = tuneyard(*command)

    assert 0 < done.returncode
    assert "there is no host nowhere" in done.stderr


def _end(house: House, run: str) -> None:
    """Let a gated training end."""
    (house.scripts / f"{house.run('项目', run)['id']}.gate").touch()
    assert "succeeded" == house.ended("项目", run)["status"]


def _set_aside(host: dict[str, Any]) -> int:
    return sum(gpu["set_aside"] is not None for gpu in host["gpus"])
