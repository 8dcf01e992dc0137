"""Deployments live as long as they are wanted, whoever dies, and are really gone when they are gone."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house import PATIENCE, REPOSITORY, House, eventually, free_port

SERVE = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py"
GRACE = 2.0


@pytest.fixture
def settings() -> dict[str, str]:
    """Give settings under which all that takes its time in life takes little."""
    first = free_port()
    return {
        "TUNEYARD_SERVE_COMMAND": SERVE,
        "TUNEYARD_DEPLOYMENT_PORTS": f"{first}-{min(first + 20, 65535)}",
        "TUNEYARD_DEPLOYMENT_GRACE_SECONDS": str(GRACE),
        "TUNEYARD_DEPLOYMENT_RETRY_SECONDS": "0.2",
        "TUNEYARD_HEALTH_SECONDS": "0.2",
        "TUNEYARD_PROBE_SECONDS": "1.5",
        "TUNEYARD_GPUS": "2",
    }


@pytest.fixture
def house(make_house: Callable[..., House], sqlite_url: str, redis_url: str, settings: dict[str, str]) -> House:
    """Give a house whose models are toys."""
    return make_house(sqlite_url, redis_url, **settings)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Make models whose toy server has these habits; nothing of theirs stays in shared memory."""

    def make(habits: str = "", name: str = "model") -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "toy.args").write_text(habits)
        return str(folder)

    yield make
    for left in Path("/dev/shm").glob("psm_*"):  # noqa: S108 - where servers leave it
        if left.read_bytes() == b"toy":
            left.unlink()


def deploy(house: House, path: str, *, wait: int = 20, **asked: Any) -> dict[str, Any]:
    """Deploy, and wait until it runs or has failed."""
    shown: dict[str, Any] = house.ok("POST", "/deployments", json={"model_path": path} | asked, headers={"Prefer": f"wait={wait}"})
    return shown


def show(house: House, deployment: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = house.ok("GET", f"/deployments/{deployment['deployment_id']}")
    return shown


def becomes(house: House, deployment: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Wait until the deployment shows these facts."""

    def look() -> dict[str, Any] | None:
        shown = show(house, deployment)
        return shown if facts.items() <= shown.items() else None

    return eventually(look, within=2 * PATIENCE)


def remove(house: House, deployment: dict[str, Any], **asked: Any) -> Any:
    return house.client.delete(f"/deployments/{deployment['deployment_id']}", params=asked, timeout=60)


def messages(house: House, deployment: dict[str, Any]) -> str:
    return "\n".join(line["message"] for line in house.ok("GET", f"/deployments/{deployment['deployment_id']}/logs?page_size=500")["items"])


def tree_of(deployment: dict[str, Any]) -> set[int]:
    """Return the living processes of this deployment, whatever session they have fled to."""
    marker = f"TUNEYARD_DEPLOYMENT_ID={deployment['deployment_id']}".encode()
    return {int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and lives(each) and marker in environment(each)}


def lives(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def test_a_deployment_runs_answers_and_is_gone_when_it_is_removed(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model("--children 1"), tags=["demo"], preferred_gpu=1, model_version="v1")

    assert ("running", "运行中", True, 1, [1], 1) == tuple(
        deployed[each] for each in ("status", "status_label", "health_ok", "gpu_id", "gpus", "attempt")
    )
    assert deployed["vllm_cmd"].startswith(f"CUDA_VISIBLE_DEVICES=1 {sys.executable} ")
    assert deployed["started_at"] <= time.time()
    assert deployed["pid"] in tree_of(deployed)
    assert Path(deployed["log_file"]).is_file()
    assert deployed["deployment_id"] == house.ok("GET", "/v1/hosts")[0]["gpus"][1]["holder"]

    asked_at = time.monotonic()
    answer = remove(house, deployed)
    took = time.monotonic() - asked_at

    assert (200, {"detail": "deployment removed", "deployment_id": deployed["deployment_id"]}) == (answer.status_code, answer.json())
    assert took < GRACE + 2, took
    assert not tree_of(deployed)
    assert [] == house.ok("GET", "/deployments")
    gone = show(house, deployed)
    assert ("stopped", False, None) == (gone["status"], gone["health_ok"], gone["pid"])
    assert gone["stopped_at"] > gone["started_at"]
    assert [gone["deployment_id"]] == [each["deployment_id"] for each in house.ok("GET", "/deployments?status=已停止")]
    assert {None} == {gpu["holder"] for gpu in house.ok("GET", "/v1/hosts")[0]["gpus"]}
    assert 200 == remove(house, deployed).status_code


def test_lists_are_filtered_by_model_tag_and_status(house: House, model: Callable[..., str]) -> None:
    path = model()
    deployed = deploy(house, path, tags=["生产"], served_name="客服")
    other = deploy(house, model(name="other"), tags=["demo"], gpu_count=0)

    def found(query: str) -> list[str]:
        return [each["deployment_id"] for each in house.ok("GET", f"/v1/deployments?{query}")]

    assert [other["deployment_id"], deployed["deployment_id"]] == found("")
    for query in (f"model={path}", "model=客服", "tag=生产", "tag=生产&status=running"):
        assert [deployed["deployment_id"]] == found(query)
    assert [] == found("model=客服&tag=demo") == found("status=failed")


def test_a_server_that_ignores_term_lives_until_force_and_then_nothing_of_it_does(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model("--ignore-term --children 2 --shared-memory"))
    tree = eventually(lambda: tree_of(deployed) if len(tree_of(deployed)) == 3 else None)
    shared = Path(f"/dev/shm/psm_{deployed['pid']:08x}")  # noqa: S108 - where servers leave it
    assert shared.exists()
    sessions = {os.getsid(pid) for pid in tree}
    assert 3 == len(sessions)

    polite = remove(house, deployed)

    assert 409 == polite.status_code
    assert "force=true" in polite.json()["detail"]
    assert tree == tree_of(deployed)
    assert "stopping" == show(house, deployed)["status"]
    assert ["stop_ignored"] == [each["name"] for each in becomes(house, deployed, status="stopping")["conditions"]]

    forced = remove(house, deployed, force="true")

    assert 200 == forced.status_code, forced.text
    assert not tree_of(deployed)
    assert not shared.exists()
    assert "stopped" == show(house, deployed)["status"]
    again = deploy(house, model(name="next"), gpu_count=2)
    assert ("running", [0, 1], deployed["port"]) == (again["status"], again["gpus"], again["port"])


def test_a_killed_worker_finds_its_deployments_again(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model())

    house.worker.kill()
    house.worker.start()

    eventually(lambda: house.worker.log.read_text().count("is at work") == 2)
    found = becomes(house, deployed, status="running", health_ok=True)
    assert (deployed["pid"], deployed["port"], 1, 0) == tuple(found[each] for each in ("pid", "port", "attempt", "restarts"))
    (house.folder / "sick").touch()
    assert 200 == remove(house, deployed).status_code
    assert not tree_of(deployed)


def test_what_died_while_no_worker_looked_is_begun_anew(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model("--children 1"))
    house.worker.kill()
    os.kill(deployed["pid"], signal.SIGKILL)

    house.worker.start()

    restarted = becomes(house, deployed, status="running", attempt=2)
    assert restarted["pid"] != deployed["pid"]
    assert restarted["pid"] in tree_of(deployed)
    assert 2 == len(tree_of(deployed))  # the orphan of the first attempt is not among them


def test_a_killed_server_is_begun_anew_and_says_why(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model("--children 1"))

    for attempt in (1, 2, 3, 4):
        os.kill(becomes(house, deployed, status="running", attempt=attempt)["pid"], signal.SIGKILL)

    restarted = becomes(house, deployed, status="running", attempt=5, health_ok=True)
    assert 4 == restarted["restarts"]
    assert "the server was killed by signal 9 that Tuneyard did not send" == restarted["failure"]["reason"]
    assert [1, 2, 3, 4] == [each["number"] for each in restarted["attempts"]]
    assert "稍后重启 restarted in 0.2 s" in messages(house, deployed)
    events = [event for event in _events(house) if event["subject"] == deployed["deployment_id"]]
    assert 4 == sum(event["kind"] == "deployment.restarted" for event in events)


def test_one_that_shall_not_be_restarted_has_failed(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model(), restart="never")
    os.kill(deployed["pid"], signal.SIGTERM)

    failed = becomes(house, deployed, status="failed")

    assert (0, "the server exited with code 0, though nobody asked it to stop: its engine has probably died") == (
        failed["exit_code"],
        failed["failure"]["reason"],
    )
    assert not tree_of(deployed)
    assert [failed["deployment_id"]] == [each["deployment_id"] for each in house.ok("GET", "/deployments")]
    assert 200 == remove(house, deployed).status_code
    assert [] == house.ok("GET", "/deployments")


@pytest.mark.parametrize(
    ("habit", "kind", "words", "attempts"),
    [
        ("memory", "out_of_memory", "out of memory: the model does not fit", 1),
        ("model", "bad_input", "/nope", 1),
        ("architecture", "bad_input", "does not support the model's architecture", 1),
        ("port", "infrastructure", "another program has its port", 3),
        ("unknown", "infrastructure", "the server exited with code 1", 3),
    ],
)
def test_one_that_cannot_start_says_why(house: House, model: Callable[..., str], habit: str, kind: str, words: str, attempts: int) -> None:
    failed = deploy(house, model(f"--fail {habit}"), wait=40)

    assert ("failed", kind, attempts) == (failed["status"], failed["failure"]["class"], failed["attempt"])
    assert words in failed["failure"]["reason"]
    assert failed["failure"]["log_excerpt"]


def test_no_such_program_is_said_at_once(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str, settings: dict[str, str]
) -> None:
    house = make_house(sqlite_url, redis_url, **(settings | {"TUNEYARD_SERVE_COMMAND": "no-such-vllm"}))

    failed = deploy(house, "/models/qwen")

    assert ("failed", 1) == (failed["status"], failed["attempt"])
    assert "no-such-vllm: no such command on the PATH" in failed["failure"]["reason"]


def test_one_that_never_answers_is_ended_at_its_deadline(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str, settings: dict[str, str], model: Callable[..., str]
) -> None:
    house = make_house(sqlite_url, redis_url, **(settings | {"TUNEYARD_DEPLOYMENT_START_SECONDS": "1"}))

    failed = deploy(house, model("--slow-start 60"), restart="never")

    assert ("failed", "timeout") == (failed["status"], failed["failure"]["class"])
    assert "it did not answer /health within 1 s of its start" in failed["failure"]["reason"]
    assert not tree_of(failed)


def test_health_goes_and_comes_and_is_remembered(house: House, model: Callable[..., str], tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    deployed = deploy(house, model(f"--sick-if {sick}"))

    sick.touch()
    ill = becomes(house, deployed, health_ok=False)
    eventually(lambda: show(house, deployed)["health"][-1]["ok"] is False)
    sick.unlink()
    well = becomes(house, deployed, health_ok=True)

    assert ("running", "running", 1) == (ill["status"], well["status"], well["attempt"])
    assert [True, False, True] == [each["ok"] for each in well["health"]]
    assert "/health answers 503" == well["health"][1]["reason"]


def test_an_engine_that_hangs_is_found_by_one_token_and_begun_anew(house: House, model: Callable[..., str], tmp_path: Path) -> None:
    wedge = tmp_path / "wedge"
    deployed = deploy(house, model(f"--wedge-if {wedge} --ignore-term --children 1"))

    wedge.touch()
    eventually(lambda: any(not each["ok"] for each in show(house, deployed)["health"]))
    eventually(lambda: show(house, deployed)["attempt"] == 2, within=2 * PATIENCE)
    wedge.unlink()

    assert "its engine hangs, though it says that it is well" in show(house, deployed)["failure"]["reason"]
    becomes(house, deployed, status="running", health_ok=True)
    assert 2 == len(tree_of(deployed))


def test_a_port_that_a_stranger_has_is_passed_over(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str, settings: dict[str, str], model: Callable[..., str]
) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        first = stranger.getsockname()[1]
        house = make_house(sqlite_url, redis_url, **(settings | {"TUNEYARD_DEPLOYMENT_PORTS": f"{first}-{min(first + 9, 65535)}"}))

        one, two = deploy(house, model("", "one")), deploy(house, model("", "two"))

    assert ("running", "running", 2) == (one["status"], two["status"], len({one["port"], two["port"]}))
    assert first not in {one["port"], two["port"]}


def test_deployments_take_no_slot_of_a_training_and_their_gpus_are_named(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str, settings: dict[str, str], model: Callable[..., str]
) -> None:
    house = make_house(sqlite_url, redis_url, **(settings | {"TUNEYARD_SLOTS": "1"}))
    one, two = deploy(house, model("", "one")), deploy(house, model("", "two"), served_name="客服")
    project = house.project(script="true")

    without = house.launch(project, resources={"gpu_count": 0})
    assert "succeeded" == house.ended(project, without)["status"]

    waits = house.launch(project, resources={"gpu_count": 1})
    waiting = eventually(lambda: house.run(project, waits)["waiting"])
    assert {one["deployment_id"], two["deployment_id"]} == {each["owner_id"] for each in waiting["holders"]}
    assert "由 " in waiting["text"]
    assert "客服" in waiting["text"]
    assert "%" not in waiting["text"]
    remove(house, two)
    assert "succeeded" == house.ended(project, waits)["status"]


def test_its_figures_are_read_and_its_log_is_followed(house: House, model: Callable[..., str]) -> None:
    deployed = deploy(house, model())
    path = f"/deployments/{deployed['deployment_id']}"

    figures = eventually(lambda: house.ok("GET", f"{path}/metrics")["latest"])
    assert {"requests/running", "requests/waiting", "cache/usage", "tokens/generated_per_second"} <= set(figures)
    assert eventually(lambda: house.ok("GET", f"{path}/metrics?name=cache/usage")["items"])

    with house.client.stream("GET", f"{path}/logs/stream") as stream:
        lines = stream.iter_lines()
        first = next(json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        assert 0 == first["number"]
        remove(house, deployed)
        assert any(line == "event: end" for line in lines)


def test_what_cannot_be_deployed_is_refused_with_words(house: House) -> None:
    refused = [
        {"model_path": "-m"},
        {"model_path": "../up"},
        {"model_path": "/m", "extra_args": "--host 0.0.0.0"},
        {"model_path": "/m", "health_path": "//evil/health"},
        {"model_path": "/m", "health_path": "http://evil"},
        {"model_path": "/m", "served_name": "--x"},
        {"model_path": "/m", "nonsense": 1},
    ]
    for body in refused:
        answer = house.client.post("/deployments", json=body)
        assert 400 == answer.status_code, (body, answer.text)
        assert answer.json()["errors"], body
    for path in ("artifact:art_none", "nobody@release"):
        assert 404 == house.client.post("/deployments", json={"model_path": path}).status_code
    assert 404 == house.client.get("/deployments/16b3f6fe-7047-42bd-89f8-8da30d47eeb5").status_code
    assert [] == house.ok("GET", "/deployments")


def _events(house: House) -> list[dict[str, Any]]:
    events = []
    with house.client.stream("GET", "/v1/events/stream", headers={"Last-Event-ID": "0.0"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
            if events and events[-1]["kind"] == "deployment.restarted" and sum(e["kind"] == "deployment.restarted" for e in events) == 4:
                return events
    return events
