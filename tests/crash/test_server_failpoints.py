"""A server dies before and after each commit of each thing people may do; what they ask for again is there once."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from infra.failpoints import EXIT_CODE
from tests.crash.counted import SAVES, Counted, live
from tests.crash.places import actions_run_in, points
from tests.crash.test_deployment_failpoints import TOY
from tests.house import PATIENCE, House, Part, eventually, free_port
from tests.workers.test_jobs import TEXT, dataset, ordered


class Deed(Struct, frozen=True):
    """A request, and how its effect is seen: False before, True after."""

    method: str
    path: str
    done: Callable[[], bool]
    sent: dict[str, Any] = {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share; beside its own server a doomed one serves its front door."""
    folder = tmp_path_factory.mktemp("house")
    quick = {"TUNEYARD_GPUS": "2", "TUNEYARD_LEASE_SECONDS": "1", "TUNEYARD_SWEEP_SECONDS": "0.3", "TUNEYARD_SERVE_COMMAND": TOY}
    house = House(folder, f"sqlite:///{folder}/training.db", **quick).start()
    yield house
    house.close()


def create_project(house: House, new: str) -> Deed:
    return Deed("POST", "/projects", lambda: _listed(house, "/projects", new), {"json": {"name": new}})


def change_project(house: House, new: str) -> Deed:
    house.ok("POST", "/projects", json={"name": new})
    return Deed("PATCH", f"/projects/{new}", lambda: house.ok("GET", f"/projects/{new}")["owner"] == "me", {"json": {"owner": "me"}})


def create_dataset(house: House, new: str) -> Deed:
    return Deed("POST", "/v1/datasets", lambda: _listed(house, "/v1/datasets", new), {"json": {"name": new, "task_type": "sft"}})


def add_file(house: House, new: str) -> Deed:
    house.ok("POST", "/v1/datasets", json={"name": new, "task_type": "sft"})
    file = {"files": {"file": ("train.jsonl", b'{"text": "once"}\n')}}
    return Deed("PUT", f"/v1/datasets/{new}/files", lambda: len(house.ok("GET", f"/v1/datasets/{new}")["files"]) == 1, file)


def abort_upload(house: House, new: str) -> Deed:
    added = add_file(house, new)
    upload = house.ok(added.method, added.path, **added.sent)["upload_id"]
    return Deed("DELETE", f"/v1/uploads/{upload}", lambda: not added.done())


def replace_file(house: House, new: str) -> Deed:
    added = add_file(house, new)
    house.ok(added.method, added.path, **added.sent)
    other = {"files": {"file": ("train.jsonl", b'{"text": "twice"}\n')}}
    return Deed("PUT", f"{added.path}?replace=true", lambda: house.ok("GET", f"/v1/datasets/{new}")["version"] == 2, other)


def delete_dataset(house: House, new: str) -> Deed:
    added = add_file(house, new)
    house.ok(added.method, added.path, **added.sent)
    return Deed("DELETE", f"/v1/datasets/{new}", lambda: not _listed(house, "/v1/datasets", new))


TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}


def begin_transfer(house: House, new: str) -> Deed:
    house.ok("POST", "/v1/datasets", json={"name": new})
    path, headers = f"/v1/datasets/{new}/uploads", TUS | {"Upload-Length": "4", "Upload-Metadata": "filename YQ=="}
    return Deed("POST", path, lambda: house.ok("GET", path) != [], {"headers": headers})


def note_transfer(house: House, new: str) -> Deed:
    begun = begin_transfer(house, new)
    place = house.client.request(begun.method, begun.path, **begun.sent).headers["Location"]
    return Deed("PATCH", place, lambda: house.ok("GET", place)["received"] == 2, {"headers": BYTES, "content": b"01"})


def end_transfer(house: House, new: str) -> Deed:
    noted = note_transfer(house, new)
    taken = house.ok("PUT", f"/v1/datasets/{new}/files", files={"file": ("a", b"other")})["upload_id"]
    assert house.client.patch(noted.path, headers=BYTES, content=b"0123").status_code == 409
    house.ok("DELETE", f"/v1/uploads/{taken}")
    return Deed("HEAD", noted.path, lambda: house.ok("GET", noted.path)["status"] == "complete", {"headers": TUS})


def give_up_transfer(house: House, new: str) -> Deed:
    noted = note_transfer(house, new)
    return Deed("DELETE", noted.path, lambda: house.client.get(noted.path).status_code == 404, {"headers": TUS})


def upload_config(house: House, new: str) -> Deed:
    config = {"files": {"file": (f"{new}.yaml", b"learning_rate: 2e-5\n")}}
    return Deed("PUT", "/v1/train-config", lambda: f"{new}.yaml" in _filenames(house), config)


def delete_config(house: House, new: str) -> Deed:
    uploaded = upload_config(house, new)
    house.ok(uploaded.method, uploaded.path, **uploaded.sent)
    return Deed("DELETE", "/v1/train-config", lambda: house.client.get("/v1/train-config").status_code == 404)


def delete_named_config(house: House, new: str) -> Deed:
    uploaded = upload_config(house, new)
    house.ok(uploaded.method, uploaded.path, **uploaded.sent)
    return Deed("DELETE", f"/v1/train-configs/{new}.yaml", lambda: not uploaded.done())


def launch(house: House, new: str) -> Deed:
    project = house.project(new)
    return Deed("POST", f"/projects/{project}/runs", lambda: _listed(house, f"/projects/{project}/runs", new), {"json": {"name": new}})


def launch_once(house: House, new: str) -> Deed:
    return replace(launch(house, new), sent={"json": {"name": new}, "headers": {"Idempotency-Key": new}})


def cancel(house: House, new: str) -> Deed:
    toy = Counted(house, held=True, name=new)
    run = toy.counting()
    wait = {"headers": {"Prefer": "wait=0"}}
    return Deed("POST", f"/projects/{new}/runs/{run}/cancel", lambda: toy.show(run)["status"].startswith("cancel"), wait)


def tag(house: House, new: str) -> Deed:
    project = house.project(new, script=SAVES + "save 1\n")
    run = house.launch(project)
    path = f"/projects/{project}/runs/{run}/artifacts/{house.ended(project, run)['artifacts'][0]['id']}"
    return Deed("POST", f"{path}/tag", lambda: len(house.ok("GET", path)["tags"]) == 1, {"json": {"tag": "candidate"}})


def declare_dead(house: House, new: str) -> Deed:
    toy = Counted(house, held=True, name=new)
    run = toy.counting()
    house.worker.kill()
    eventually(lambda: not live(house))
    return Deed("POST", f"/projects/{new}/runs/{run}/declare-dead", lambda: toy.show(run)["status"] == "failed")


def deploy(house: House, new: str) -> Deed:
    (house.folder / new).mkdir(exist_ok=True)
    asked = {"json": {"model_path": str(house.folder / new), "gpu_count": 0}, "headers": {"Prefer": "wait=0"}}
    return Deed("POST", "/deployments", lambda: bool(_deployments(house, new)), asked)


def remove(house: House, new: str) -> Deed:
    deployed = _deployed(house, new)
    path = f"/deployments/{deployed['deployment_id']}"
    return Deed("DELETE", path, lambda: house.ok("GET", path)["status"] in {"stopping", "stopped"})


def declare_deployment_dead(house: House, new: str) -> Deed:
    deployed = _deployed(house, new)
    house.worker.kill()
    eventually(lambda: not live(house))
    path = f"/deployments/{deployed['deployment_id']}"
    return Deed("POST", f"{path}/declare-dead", lambda: house.ok("GET", path)["status"] == "failed")


def deidentify(house: House, new: str) -> Deed:
    path = f"/v1/datasets/{dataset(house, TEXT.encode(), name=new)}/deidentify"
    return Deed("POST", path, lambda: bool(house.ok("GET", f"/v1/jobs?dataset={new}")))


def cancel_job(house: House, new: str) -> Deed:
    house.ok("POST", "/v1/hosts/testhost/drain")
    job = ordered(house, dataset(house, TEXT.encode(), name=new))
    return Deed("POST", f"/v1/jobs/{job}/cancel", lambda: house.ok("GET", f"/v1/jobs/{job}")["status"].startswith("cancel"))


def drain(house: House, _new: str) -> Deed:
    return Deed("POST", "/v1/hosts/testhost/drain", lambda: _host(house)["status"] == "draining")


def undrain(house: House, _new: str) -> Deed:
    house.ok("POST", "/v1/hosts/testhost/drain")
    return Deed("POST", "/v1/hosts/testhost/undrain", lambda: _host(house)["status"] == "live")


def return_gpu(house: House, _new: str) -> Deed:
    with closing(sqlite3.connect(house.folder / "training.db")) as database, database:
        database.execute("UPDATE gpus SET set_aside = 'it was on fire' WHERE number = 1")
    return Deed("POST", "/v1/hosts/testhost/gpus/1/return", lambda: _host(house)["gpus"][1]["set_aside"] is None)


DEEDS: dict[str, Callable[[House, str], Deed]] = {
    "access.once": launch_once,
    "datasets.abort": abort_upload,
    "datasets.add_file": add_file,
    "datasets.create": create_dataset,
    "datasets.delete": delete_dataset,
    "datasets.replace_file": replace_file,
    "deployments.declare_dead": declare_deployment_dead,
    "deployments.deploy": deploy,
    "deployments.remove": remove,
    "hosts.drain": drain,
    "jobs.cancel": cancel_job,
    "jobs.deidentify": deidentify,
    "hosts.return_gpu": return_gpu,
    "hosts.undrain": undrain,
    "projects.change": change_project,
    "projects.create": create_project,
    "runs.cancel": cancel,
    "runs.declare_dead": declare_dead,
    "runs.launch": launch,
    "runs.tag": tag,
    "train_configs.delete": delete_named_config,
    "train_configs.delete_current": delete_config,
    "train_configs.upload": upload_config,
    "transfers.begin": begin_transfer,
    "transfers.end": end_transfer,
    "transfers.give_up": give_up_transfer,
    "transfers.note": note_transfer,
}


def test_every_place_where_a_server_may_die_is_tried() -> None:
    assert set(DEEDS) | {"transfers.forget"} == actions_run_in("api", "infra/files")


@pytest.mark.parametrize("place", DEEDS)
def test_a_server_may_die_there(house: House, place: str) -> None:
    _have_a_worker(house)
    deed = DEEDS[place](house, place.replace("_", "-"))
    assert not deed.done()

    for point, done in zip(points(place), (False, True), strict=True):
        _die_at(house, point, deed)
        assert done is deed.done()

    again = house.client.request(deed.method, deed.path, **deed.sent)
    assert again.is_success or again.status_code in {404, 409}, again.text
    assert deed.done()
    house.ok("POST", "/v1/hosts/testhost/undrain")


def test_a_server_may_die_before_and_after_it_has_placed_a_run(house: House) -> None:
    _have_a_worker(house)
    toy = Counted(house, name="placed")
    runs = [point.replace(".", "-") for point in points("processes.place")]

    for point, run in zip(points("processes.place"), runs, strict=True):
        _die_at(house, point, Deed("POST", f"/projects/{toy.name}/runs", bool, {"json": {"name": run}}))

    for run in runs:
        toy.assert_whole(run)


def test_a_server_may_die_while_it_tidies(house: House) -> None:
    noted = note_transfer(house, "tidied")
    house.client.request(noted.method, noted.path, **noted.sent)
    impatient = {"TUNEYARD_PORT": str(free_port()), "TUNEYARD_UPLOAD_EXPIRY_SECONDS": "0.001"}

    for point, known in zip(points("transfers.forget"), (200, 404), strict=True):
        doomed = Part("api", house.environment | impatient | {"TUNEYARD_FAILPOINT": point}, house.folder / f"{point}.log")
        doomed.start()
        assert doomed.process is not None
        assert EXIT_CODE == doomed.process.wait(PATIENCE)
        assert known == house.client.get(noted.path).status_code


def _have_a_worker(house: House) -> None:
    assert house.worker.process is not None
    if house.worker.process.poll() is not None:
        house.worker.start()
    eventually(lambda: live(house))


def _die_at(house: House, point: str, deed: Deed) -> None:
    """Ask a server for it that dies there."""
    port = free_port()
    doomed = Part("api", house.environment | {"TUNEYARD_PORT": str(port), "TUNEYARD_FAILPOINT": point}, house.folder / f"{point}.log")
    doomed.start()
    assert doomed.process is not None
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
            eventually(lambda: _answers(client))
            with suppress(httpx.TransportError):
                client.request(deed.method, deed.path, **deed.sent)
            assert EXIT_CODE == doomed.process.wait(PATIENCE)
    finally:
        doomed.kill()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _listed(house: House, path: str, name: str) -> bool:
    """Whether the list has it; once, if it has."""
    found = [each["name"] for each in house.ok("GET", path)].count(name)
    assert found in {0, 1}
    return found == 1


def _deployments(house: House, model: str) -> list[dict[str, Any]]:
    return [each for each in house.ok("GET", "/deployments") if each["model_path"] == str(house.folder / model)]


def _deployed(house: House, model: str) -> dict[str, Any]:
    """Have one that runs."""
    deed = deploy(house, model)
    house.ok(deed.method, deed.path, **deed.sent)
    return eventually(lambda: next((each for each in _deployments(house, model) if each["status"] == "running"), None))


def _filenames(house: House) -> list[str]:
    return [each["filename"] for each in house.ok("GET", "/v1/train-configs")]


def _host(house: House) -> dict[str, Any]:
    return dict(house.ok("GET", "/v1/hosts/testhost"))
