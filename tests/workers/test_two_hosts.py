"""Two hosts on PostgreSQL: with a training folder that they share, and each with one of its own."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.crash.counted import Counted, kill_both
from tests.house import House, Part, eventually
from tests.proxy import proxied
from tests.things import SAMPLES

ADDRESSES = {"gpu-1": "127.0.0.2", "gpu-2": "127.0.0.3"}
TOKEN = "a-long-random-text"
LEASE = "2"
"""Seconds: a host counts as lost soon, and a busy machine still beats in time."""
GATED = 'gate=$TUNEYARD_RUN_ID.gate; while [ ! -e "$gate" ]; do sleep 0.05; done'
SAVES = f"""
out=$TUNEYARD_OUTPUT_DIR
from=$(sed -n 's/^resume_from_checkpoint: *//p' "$1")
if [ -n "$from" ]; then
  grep -q '"global_step": 5' "$from/trainer_state.json" && echo "goes on from ${{from##*/}}"
  exit $?
fi
mkdir -p "$out/checkpoint-5" && printf '{{"global_step": 5}}' > "$out/checkpoint-5/trainer_state.json"
printf '\\2\\0\\0\\0\\0\\0\\0\\0{{}}' > "$out/checkpoint-5/model.safetensors"
{GATED}
"""
"""A toy standing in for a trainer: it saves at step 5 and lives on until the gate opens; resumed, it says from where, and ends."""


class Apart(Struct):
    """A house whose hosts each have a training folder of their own; none of them is the server's."""

    house: House
    workers: dict[str, Part]

    def folder(self, host: str) -> Path:
        """The training folder of a host."""
        return Path(self.workers[host].environment["HOST_TRAINING_PATH"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str], redis_url: str) -> Iterator[House]:
    """Give a house of two hosts with two slots each, on one training folder, for all tests of this module."""
    folder = tmp_path_factory.mktemp("shared")
    first = {"TUNEYARD_HOST": "gpu-1", "TUNEYARD_ADDRESS": ADDRESSES["gpu-1"]}
    house = House(folder, make_database(), redis_url, TUNEYARD_SLOTS="2", TUNEYARD_LEASE_SECONDS=LEASE, **first).start()
    house.another("gpu-2", TUNEYARD_ADDRESS=ADDRESSES["gpu-2"])
    yield house
    house.close()


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str], redis_url: str) -> Iterator[Apart]:
    """Give a house of two hosts with one slot each, and a folder each, for all tests of this module."""
    folder = tmp_path_factory.mktemp("apart")
    house = House(folder, make_database(), redis_url, TUNEYARD_TOKEN=TOKEN, TUNEYARD_SLOTS="1", TUNEYARD_RETRY_SECONDS="0.2")
    house.api.start()
    eventually(house.ready)
    workers = {}
    for host, address in ADDRESSES.items():
        own = {"HOST_TRAINING_PATH": str(folder / host), "TUNEYARD_ADDRESS": address, "TUNEYARD_URL": house.url}
        workers[host] = house.another(host, **own)
    yield Apart(house, workers)
    house.close()


def test_a_dead_worker_keeps_its_runs_and_the_other_host_goes_on(shared: House) -> None:
    toy = Counted(shared, held=True)
    runs = [toy.counting() for _ in range(4)]
    fifth = toy.launch()
    placed = {run: toy.show(run)["host"] for run in runs}
    assert ["gpu-1", "gpu-1", "gpu-2", "gpu-2"] == sorted(placed.values())
    assert ADDRESSES == {host["name"]: host["address"] for host in shared.ok("GET", "/v1/hosts")}
    assert ("slots_taken", 1) == tuple(toy.show(fifth)["waiting"][key] for key in ("reason", "position"))

    shared.worker.kill()
    eventually(lambda: shared.hosts()["gpu-1"] == "lost")
    toy.let_go()

    for run in [*(run for run in runs if placed[run] == "gpu-2"), fifth]:
        toy.assert_whole(run)
    assert "gpu-2" == toy.show(fifth)["host"]
    waiting = [toy.show(run) for run in runs if placed[run] == "gpu-1"]
    assert [("running", 1, ["host_lost"])] * 2 == [
        (each["status"], each["attempt"], [condition["name"] for condition in each["conditions"]]) for each in waiting
    ]
    assert "gpu-1 has been silent since" in waiting[0]["conditions"][0]["reason"]
    shared.worker.start()
    for each in waiting:
        toy.assert_whole(each["name"])
        assert ("gpu-1", []) == tuple(toy.show(each["name"])[key] for key in ("host", "conditions"))
    assert 5 == len(toy.starts())


def test_a_checkpoint_in_a_shared_folder_is_resumed_on_the_other_host(shared: House) -> None:
    project = shared.project("resumed", script=SAVES)
    run, checkpoint = _cancelled(shared, project)
    shared.ok("POST", f"/v1/hosts/{run['host']}/drain")

    resumed = shared.ended(project, _resume(shared, project, run, checkpoint))

    shared.ok("POST", f"/v1/hosts/{run['host']}/undrain")
    assert {run["host"], resumed["host"]} == set(ADDRESSES)
    assert "succeeded" == resumed["status"]
    assert "goes on from checkpoint-5" in shared.lines(project, resumed["name"])


def test_a_host_that_is_cut_off_keeps_its_run_and_catches_up_on_its_return(
    make_house: Callable[..., House], postgresql_url: str, redis_url: str
) -> None:
    with proxied(postgresql_url) as (line, url):
        house = make_house(postgresql_url, redis_url, TUNEYARD_HOST="gpu-1", TUNEYARD_SLOTS="1", TUNEYARD_LEASE_SECONDS=LEASE)
        toy = Counted(house, lines=1_000, rate=400)
        house.ok("POST", "/v1/hosts/gpu-1/drain")
        house.another("gpu-2", TRAINING_DB_URL=url, TUNEYARD_SLOTS="2")
        run = toy.launch()
        toy.wait_for(run, 100)

        line.blackhole()
        eventually(lambda: house.hosts()["gpu-2"] == "lost")
        second = toy.launch()
        stored = toy.total(run)
        end = toy.recorded(run, "exit.json")

        assert 0 == end["code"]
        cut_off, waiting = toy.show(run), toy.show(second)
        assert ("running", 1, ["host_lost"]) == (cut_off["status"], cut_off["attempt"], [each["name"] for each in cut_off["conditions"]])
        assert ("queued", "hosts_away") == (waiting["status"], waiting["waiting"]["reason"])
        assert len(toy.expected) > stored == toy.total(run)
        house.ok("POST", "/v1/hosts/gpu-1/undrain")
        toy.assert_whole(second)
        assert "gpu-1" == toy.show(second)["host"]
        line.pass_on()
        toy.assert_whole(run)
        assert "gpu-2" == toy.show(run)["host"]


def test_uploaded_data_is_fetched_where_the_folder_is_not_shared(apart: Apart) -> None:
    house = apart.house
    project = house.project("fetched", script=f'sed -n "s/^dataset: *//p" "$1" | xargs sha256sum; {GATED}')
    pinned = _uploaded(house, "fetched")
    runs = [house.launch(project, dataset="datasets/fetched/data.jsonl") for _ in range(2)]
    eventually(lambda: {house.run(project, run)["status"] for run in runs} == {"running"})
    for run in runs:
        _let_go(house, project, run)

    ended = [house.ended(project, run) for run in runs]

    assert set(ADDRESSES) == {each["host"] for each in ended}
    for each in ended:
        here = apart.folder(each["host"]) / pinned
        assert "succeeded" == each["status"]
        assert (house.training / pinned).read_bytes() == here.read_bytes()
        assert not here.samefile(house.training / pinned)
        assert f"{here.stem}  {here}" in house.lines(project, each["name"])


def test_data_that_arrives_with_other_bytes_is_not_used_and_fetched_again(apart: Apart) -> None:
    house = apart.house
    project = house.project("spoilt", script="true")
    blob = house.training / _uploaded(house, "spoilt")
    house.ok("GET", "/v1/datasets/spoilt/report", headers={"Prefer": "wait=15"})  # it is inspected as it was uploaded
    good = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(good.swapcase())

    name = house.launch(project, dataset="datasets/spoilt/data.jsonl")
    eventually(lambda: house.run(project, name)["attempts"])
    blob.write_bytes(good)

    run = house.ended(project, name)
    assert "succeeded" == run["status"]
    assert "arrived with other bytes than were uploaded" in run["attempts"][0]["failure"]["reason"]


def test_a_host_that_cannot_reach_the_server_says_what_to_set(apart: Apart) -> None:
    house = apart.house
    project = house.project("unreached", script="true")
    for host in ADDRESSES:
        house.ok("POST", f"/v1/hosts/{host}/drain")
    lone = house.another("lone", HOST_TRAINING_PATH=str(house.folder / "lone"), TUNEYARD_URL="http://127.0.0.1:9")

    run = house.ended(project, house.launch(project))

    lone.stop()
    for host in ADDRESSES:
        house.ok("POST", f"/v1/hosts/{host}/undrain")
    assert ("failed", 3, "infrastructure") == (run["status"], run["attempt"], run["failure"]["class"])
    assert "the server cannot be reached at http://127.0.0.1:9" in run["failure"]["reason"]
    assert run["failure"]["reason"].endswith("set TUNEYARD_URL to where it listens")


def test_data_that_was_never_uploaded_waits_for_a_host_that_shares_the_servers_folder(apart: Apart) -> None:
    house = apart.house
    project = house.project("by-hand", script='sed -n "s/^dataset: *//p" "$1" | xargs cat')
    (house.training / "datasets").mkdir(exist_ok=True)
    by_hand_data = SAMPLES["sft"].decode().replace('"a"', '"手放的数据"')
    (house.training / "datasets" / "by-hand.jsonl").write_text(by_hand_data)

    by_hand = house.launch(project, dataset="datasets/by-hand.jsonl")
    uploaded = house.ended(project, house.launch(project))

    assert uploaded["host"] in ADDRESSES
    waiting = house.run(project, by_hand)["waiting"]
    assert ("no_host", 1) == (waiting["reason"], waiting["position"])
    assert "没有能访问其训练目录的主机" in waiting["text"]
    assert "no host with its training folder" in _in_english(house, project, by_hand)["waiting"]["text"]
    house.worker.start()
    run = house.ended(project, by_hand)
    assert ("succeeded", "testhost") == (run["status"], run["host"])
    assert by_hand_data.strip() in house.lines(project, by_hand)


def test_a_resume_waits_for_the_host_that_holds_the_checkpoint(apart: Apart) -> None:
    house = apart.house
    project = house.project("resumed", script=SAVES)
    run, checkpoint = _cancelled(house, project)
    here, other = run["host"], next(host for host in ADDRESSES if host != run["host"])
    house.ok("POST", f"/v1/hosts/{other}/drain")
    blocking = house.launch(project)
    eventually(lambda: house.run(project, blocking)["status"] == "running")
    house.ok("POST", f"/v1/hosts/{other}/undrain")

    resumed = _resume(house, project, run, checkpoint)
    passing = house.launch(project)
    eventually(lambda: house.run(project, passing)["status"] == "running")

    waiting = house.run(project, resumed)["waiting"]
    assert ("slots_taken", [(here, blocking)]) == (waiting["reason"], [(each["host"], each["name"]) for each in waiting["holders"]])
    assert here in waiting["text"]
    assert [here, other] == [house.run(project, each)["host"] for each in (blocking, passing)]
    for each in (blocking, passing):
        _let_go(house, project, each)
    ended = house.ended(project, resumed)
    assert ("succeeded", here) == (ended["status"], ended["host"])
    assert "goes on from checkpoint-5" in house.lines(project, resumed)


@pytest.mark.parametrize("saves", [True, False], ids=["with a checkpoint", "without one"])
def test_another_attempt_stays_on_its_host_only_where_it_has_a_checkpoint_there(apart: Apart, *, saves: bool) -> None:
    house = apart.house
    project = house.project(f"again-{saves}", script=SAVES if saves else f"echo lives; {GATED}")
    name = house.launch(project)
    eventually(lambda: house.run(project, name)["artifacts"] if saves else "lives" in house.lines(project, name))
    run = house.run(project, name)
    here, other = run["host"], next(host for host in ADDRESSES if host != run["host"])
    house.ok("POST", f"/v1/hosts/{here}/drain")

    state = _state(apart.folder(here), run["id"])
    kill_both(state["shim_pid"], state["pid"])
    eventually(lambda: house.run(project, name)["attempt"] == 2)

    if saves:
        waiting = eventually(lambda: _waits(house, project, name, "hosts_away"))
        assert f"{here} 已停止接收或失联" in waiting["text"]
        house.ok("POST", f"/v1/hosts/{here}/undrain")
    _let_go(house, project, name)
    ended = house.ended(project, name)
    house.ok("POST", f"/v1/hosts/{here}/undrain")
    assert ("succeeded", here if saves else other) == (ended["status"], ended["host"])
    assert [(1, here)] == [(each["number"], each["host"]) for each in ended["attempts"][:1]]
    assert saves is ("goes on from checkpoint-5" in house.lines(project, name))


def _uploaded(house: House, dataset: str) -> str:
    """Upload a file of its own to a new dataset; where it lies below the server's training folder."""
    content = f'{{"messages": [{{"role": "user", "content": "{dataset}"}}, {{"role": "assistant", "content": "ok"}}]}}\n'.encode()
    house.ok("POST", "/v1/datasets", json={"name": dataset, "task_type": "sft"})
    house.ok("PUT", f"/v1/datasets/{dataset}/files", files={"file": ("data.jsonl", content)})
    digest = hashlib.sha256(content).hexdigest()
    return f"blobs/{digest[:2]}/{digest}.jsonl"


def _let_go(house: House, project: str, run: str) -> None:
    """Let a gated training end."""
    (house.scripts / f"{house.run(project, run)['id']}.gate").touch()


def _cancelled(house: House, project: str) -> tuple[dict[str, Any], str]:
    """A run that was cancelled, and its checkpoint."""
    name = house.launch(project)
    eventually(lambda: house.run(project, name)["artifacts"])
    answer = house.ok("POST", f"/projects/{project}/runs/{name}/cancel?force=true")
    return answer, answer["checkpoint"]["id"]


def _resume(house: House, project: str, run: dict[str, Any], checkpoint: str) -> str:
    name: str = house.ok("POST", f"/projects/{project}/runs/{run['name']}/resume?source_artifact_id={checkpoint}")["name"]
    return name


def _waits(house: House, project: str, run: str, reason: str) -> dict[str, Any] | None:
    waiting: dict[str, Any] | None = house.run(project, run)["waiting"]
    return waiting if waiting and waiting["reason"] == reason else None


def _in_english(house: House, project: str, run: str) -> dict[str, Any]:
    shown: dict[str, Any] = house.ok("GET", f"/projects/{project}/runs/{run}", headers={"Accept-Language": "en"})
    return shown


def _state(training: Path, run_id: str) -> dict[str, Any]:
    """What the shim of the first attempt recorded."""
    return dict(json.loads((training / "runs" / run_id / "attempt-1" / "state.json").read_text()))
