"""GPUs of two hosts, by a count in the settings: who is given which, who waits for them and why, and that none is given twice."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.house import House, eventually

LEDGER = """
for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do echo "$TUNEYARD_RUN_ID $gpu begins" >> ledger; done
sleep 0.05
for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do echo "$TUNEYARD_RUN_ID $gpu ends" >> ledger; done
"""
"""A toy standing in for a trainer: it notes the GPUs it sees in a file that all append to, so its lines are in the order of time."""
GATED = """
while [ ! -e halfway ]; do sleep 0.05; done; echo '{"step": 5, "max_steps": 10}'
while [ ! -e "$TUNEYARD_RUN_ID.gate" ]; do sleep 0.05; done
"""
"""A toy that comes halfway when it may, and ends when it may."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str], redis_url: str) -> Iterator[House]:
    """Give a house with a host of four GPUs and, on a folder of its own, one of two, for all tests of this module."""
    folder = tmp_path_factory.mktemp("house")
    house = House(folder, make_database(), redis_url, TUNEYARD_HOST="gpu-1", TUNEYARD_GPUS="4", TUNEYARD_GPU_TYPE="A100").start()
    own = {"HOST_TRAINING_PATH": str(folder / "gpu-2"), "TUNEYARD_URL": house.url}
    house.another("gpu-2", TUNEYARD_GPUS="2", TUNEYARD_GPU_TYPE="NVIDIA H100 80GB HBM3", **own)
    yield house
    house.close()


def test_no_gpu_has_two_processes_at_a_time(house: House) -> None:
    project = house.project("ledger", script=LEDGER)
    runs = [house.launch(project, resources={"gpu_count": 1 + number % 2}) for number in range(30)]

    ended = {run["id"]: run for run in (house.ended(project, name, within=40) for name in runs)}

    assert {"succeeded"} == {run["status"] for run in ended.values()}
    assert {"gpu-1", "gpu-2"} == {run["host"] for run in ended.values()}
    story, seen = defaultdict[tuple[str, str], list[str]](list), defaultdict[str, list[str]](list)
    for run, gpu, what in (line.split() for line in (house.scripts / "ledger").read_text().splitlines()):
        story[ended[run]["host"], gpu].append(f"{run} {what}")
        seen[run].extend([gpu] if what == "begins" else [])
    for lines in story.values():
        assert [f"{line.split()[0]} {what}" for line in lines[::2] for what in ("begins", "ends")] == lines
    assert {run: shown["gpus"] for run, shown in ended.items()} == seen
    assert [1 + number % 2 for number in range(30)] == [len(run["gpus"]) for run in ended.values()]
    assert {None} == {gpu["holder"] for gpu in _gpus(house)}


@pytest.mark.parametrize(
    ("resources", "host", "devices"),
    [
        ({"gpu_count": 2, "gpu_type": "a100"}, "gpu-1", "0,1"),
        ({"gpu_type": "H100"}, "gpu-2", "0"),
        ({"gpu_count": 2, "gpu_type": "NVIDIA H100"}, "gpu-2", "0,1"),
        ({"gpu_count": 0}, None, ""),
    ],
    ids=["two of a type", "a type is one of it", "a longer name", "none"],
)
def test_a_training_sees_the_gpus_it_was_given_and_no_other(
    house: House, resources: dict[str, Any], host: str | None, devices: str
) -> None:
    project = house.project(f"sees-{host}-{devices}", script='echo "sees [${CUDA_VISIBLE_DEVICES-all}]"')

    run = house.ended(project, house.launch(project, resources=resources))

    assert f"sees [{devices}]" in house.lines(project, run["name"])
    assert devices == ",".join(run["gpus"])
    assert host in (None, run["host"])


def test_a_large_one_is_not_starved_by_small_ones_that_keep_coming(house: House) -> None:
    project = house.project("fair", script=GATED)
    small = {"gpu_type": "A100", "gpu_count": 1}
    first = [house.launch(project, resources=small) for _ in range(4)]
    running = [eventually(lambda name=name: _running(house, project, name)) for name in first]  # type: ignore[misc]  # the loop's own
    assert [("gpu-1", str(number), None) for number in range(4)] == [(run["host"], *run["gpus"], run["gpu_utilization"]) for run in running]
    large = house.launch(project, resources={"gpu_type": "A100", "gpu_count": 4})
    later = [house.launch(project, resources=small) for _ in range(2)]

    waiting = house.run(project, large)["waiting"]

    assert ("gpus_taken", 1, None) == (waiting["reason"], waiting["position"], waiting["starts_at"])
    assert set(first) == {each["name"] for each in waiting["holders"]}
    assert "需要 4 块 A100 GPU；gpu-1 没有空闲的，全部由" in waiting["text"]
    (house.scripts / "halfway").touch()
    eventually(lambda: house.run(project, large)["waiting"]["starts_at"])
    english = house.ok("GET", f"/projects/{project}/runs/{large}", headers={"Accept-Language": "en"})["waiting"]["text"]
    assert english.startswith("needs 4 GPUs of type A100; gpu-1 has none free, all are held by run-")
    urgent = house.launch(project, resources=small, priority=5)
    assert 2 == house.run(project, large)["waiting"]["position"]
    for name in first[:2]:
        _let_go(house, project, name)
    eventually(lambda: _running(house, project, urgent))
    assert ["queued", "queued"] == [house.run(project, name)["status"] for name in later]
    kept_back = house.run(project, later[0])["waiting"]
    assert ("kept_back", 2) == (kept_back["reason"], kept_back["position"])
    assert "gpu-1 有 1 块空闲，为排在前面、需要 4 块 A100 GPU 的任务保留" in kept_back["text"]
    for name in [*first[2:], urgent]:
        _let_go(house, project, name)
    assert ["0", "1", "2", "3"] == eventually(lambda: _running(house, project, large))["gpus"]
    assert ["queued", "queued"] == [house.run(project, name)["status"] for name in later]
    for name in [large, *later]:
        _let_go(house, project, name)
    assert {"succeeded"} == {house.ended(project, name)["status"] for name in [*first, large, *later, urgent]}
    assert {None} == {gpu["holder"] for gpu in _gpus(house)}


def test_a_drained_host_goes_on_with_what_it_has_and_is_given_nothing(house: House) -> None:
    project = house.project("drained", script=GATED)
    going_on = house.launch(project, resources={"gpu_type": "H100"})
    eventually(lambda: _running(house, project, going_on))

    drained = house.ok("POST", "/v1/hosts/gpu-2/drain")
    kept_out = house.launch(project, resources={"gpu_type": "H100"})

    assert ("draining", 1) == (drained["status"], drained["processes"])
    (house.scripts / "halfway").touch()
    _let_go(house, project, going_on)
    assert "succeeded" == house.ended(project, going_on)["status"]
    assert "queued" == house.run(project, kept_out)["status"]
    _let_go(house, project, kept_out)
    assert "live" == house.ok("POST", "/v1/hosts/gpu-2/undrain")["status"]
    assert ("succeeded", "gpu-2") == ((run := house.ended(project, kept_out))["status"], run["host"])


def _running(house: House, project: str, run: str) -> dict[str, Any] | None:
    shown = house.run(project, run)
    return shown if shown["status"] == "running" else None


def _let_go(house: House, project: str, run: str) -> None:
    """Let a gated training end."""
    (house.scripts / f"{house.run(project, run)['id']}.gate").touch()


def _gpus(house: House) -> list[dict[str, Any]]:
    return [gpu for host in house.ok("GET", "/v1/hosts") for gpu in host["gpus"]]
