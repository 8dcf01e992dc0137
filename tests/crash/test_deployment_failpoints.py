"""A worker dies at every place of its work for a deployment; the next one goes on, and there is one server where one is wanted."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.failpoints import EXIT_CODE
from tests.crash.places import points
from tests.house import PATIENCE, REPOSITORY, House, Part, eventually, free_port

GRACE = 1
TOY = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py"
MODEL = """
here="$TUNEYARD_OUTPUT_DIR/model_final"; mkdir -p "$here"; echo '{}' > "$here/config.json"
printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > "$here/model.safetensors"
"""
Deployment = dict[str, Any]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share; nobody works there but whom a test starts."""
    folder = tmp_path_factory.mktemp("house")
    first = free_port()
    quick = {
        "TUNEYARD_SERVE_COMMAND": TOY,
        "TUNEYARD_DEPLOYMENT_PORTS": f"{first}-{min(first + 20, 65535)}",
        "TUNEYARD_DEPLOYMENT_GRACE_SECONDS": str(GRACE),
        "TUNEYARD_DEPLOYMENT_RETRY_SECONDS": "0.1",
        "TUNEYARD_HEALTH_SECONDS": "0.2",
        "TUNEYARD_GPUS": "2",
        "TUNEYARD_LEASE_SECONDS": "2",
        "TUNEYARD_SWEEP_SECONDS": "0.3",
    }
    house = House(folder, f"sqlite:///{folder}/training.db", **quick)
    house.api.start()
    eventually(house.ready)
    yield house
    house.close()


def wanted(house: House, place: str) -> Deployment:
    """It waits for a worker."""
    return _deploy(house, _model(house, place))


def removed(house: House, place: str, habits: str = "") -> Deployment:
    """It lives, was asked to go, and no worker has heard that."""
    deployed = _running(house, _model(house, place, habits))
    house.client.delete(f"/deployments/{deployed['deployment_id']}")
    return deployed


def stubborn(house: House, place: str) -> Deployment:
    """Likewise, and it will not go."""
    return removed(house, place, "--ignore-term")


def sick(house: House, place: str) -> Deployment:
    """It lives, and has stopped answering."""
    illness = house.folder / "sick"
    deployed = _running(house, _model(house, place, f"--sick-if {illness}"))
    illness.touch()
    return deployed


def outdated(house: House, _place: str) -> Deployment:
    """It serves what is tagged `release`, and something newer is tagged so by now."""
    project = house.project("rolling", script=MODEL)
    house.worker.start()
    old, new = (_trained(house, project) for _ in range(2))
    house.ok("POST", old, json={"tag": "release"})
    deployed = _running(house, f"{project}@release", started=True)
    house.ok("POST", new, json={"tag": "release"})
    return deployed


SITUATIONS: dict[str, Callable[[House, str], Deployment]] = {
    "deployments.began": wanted,
    "deployments.commanded": wanted,
    "deployments.condemned": sick,
    "deployments.ended": removed,
    "deployments.felt": wanted,
    "deployments.freed": removed,
    "deployments.measured": wanted,
    "deployments.noted": stubborn,
    "deployments.reserve": wanted,
    "deployments.roll_over": outdated,
    "deployments.said": wanted,
    "deployments.take": wanted,
}
"""Place → the deployment that brings a worker there. `test_failpoints.py` sees to it that none is missing."""


@pytest.mark.parametrize("place", SITUATIONS)
def test_a_worker_may_die_there(house: House, place: str) -> None:
    situation = SITUATIONS[place]
    deployed = situation(house, place)

    for point in points(place):
        assert EXIT_CODE == died_at(house, point)

    (house.folder / "sick").unlink(missing_ok=True)
    house.worker.start()
    if situation in {wanted, sick}:
        _assert_one_lives(house, deployed, attempt=1 if situation is wanted else 2)
    elif situation is outdated:
        _becomes(house, deployed, status="stopped")
        (deployed,) = _living(house)
        _assert_one_lives(house, deployed, attempt=1)
    house.client.delete(f"/deployments/{deployed['deployment_id']}?force=true", timeout=PATIENCE)
    _becomes(house, deployed, status="stopped", pid=None)
    assert [] == _living(house)
    assert not _tree_of(deployed)
    assert {None} == {gpu["holder"] for gpu in house.ok("GET", "/v1/hosts/testhost")["gpus"]}
    house.worker.kill()


def _assert_one_lives(house: House, deployed: Deployment, *, attempt: int) -> None:
    shown = _becomes(house, deployed, status="running", health_ok=True, attempt=attempt)
    assert {shown["pid"]} == _tree_of(deployed)
    held = [gpu["number"] for gpu in house.ok("GET", "/v1/hosts/testhost")["gpus"] if gpu["holder"]]
    assert shown["gpus"] == held


def _model(house: House, name: str, habits: str = "") -> str:
    folder = house.folder / name
    folder.mkdir()
    (folder / "toy.args").write_text(habits)
    return str(folder)


def _deploy(house: House, path: str) -> Deployment:
    shown: Deployment = house.ok("POST", "/deployments", json={"model_path": path}, headers={"Prefer": "wait=0"})
    return shown


def _running(house: House, path: str, *, started: bool = False) -> Deployment:
    """Have a deployment that runs, and no worker."""
    if not started:
        house.worker.start()
    deployed = _becomes(house, _deploy(house, path), status="running")
    house.worker.kill()
    return deployed


def _trained(house: House, project: str) -> str:
    """Train a model; where it is tagged."""
    run = house.ended(project, house.launch(project))
    (model,) = run["artifacts"]
    return f"/projects/{project}/runs/{run['id']}/artifacts/{model['id']}/tag"


def _becomes(house: House, deployed: Deployment, **facts: Any) -> Deployment:
    def look() -> Deployment | None:
        shown: Deployment = house.ok("GET", f"/deployments/{deployed['deployment_id']}")
        return shown if facts.items() <= shown.items() else None

    return eventually(look, within=2 * PATIENCE)


def _living(house: House) -> list[Deployment]:
    return [each for each in house.ok("GET", "/deployments") if each["status"] not in {"stopped", "failed"}]


def _tree_of(deployed: Deployment) -> set[int]:
    """Whoever lives of it."""
    mark = f"TUNEYARD_DEPLOYMENT_ID={deployed['deployment_id']}".encode()
    found = set()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                found.add(int(process.name))
        except OSError:
            continue
    return found


def died_at(house: House, point: str) -> int:
    """Start a worker that dies there; how it ended."""
    doomed = Part("workers", house.environment | {"TUNEYARD_FAILPOINT": point}, house.folder / f"{point}.log")
    doomed.start()
    assert doomed.process is not None
    try:
        return doomed.process.wait(PATIENCE)
    finally:
        doomed.kill()
