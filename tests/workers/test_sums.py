"""After a run's end its worker reads what was left: sums follow soon, nothing waits for them, and what is gone says so."""

import hashlib
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from domain.errors import Ghost
from domain.hosts import actions as hosts
from domain.processes.process import Phase
from domain.runs import hosting
from domain.runs.artifact import DELETED, Artifact, ArtifactType, FileSum, Found, Summed, Tag, TagName
from domain.runs.run import RunStatus
from infra.db.database import Database
from infra.db.runs import _UNSUMMED_ARTIFACTS
from infra.db.transaction import Tx
from tests.contracts.databases import keep
from tests.contracts.lives import look
from tests.house import House, eventually
from tests.things import AT, HOST, a_process, a_registration, a_run, an_artifact
from tests.workers.test_cancel import SAVES
from workers.hand import Speaker

LEAVES = """
out=$TUNEYARD_OUTPUT_DIR
mkdir -p "$out/checkpoint-5/状态" && printf '{"global_step": 5}' > "$out/checkpoint-5/trainer_state.json"
printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > "$out/checkpoint-5/model.safetensors"; echo 一 > "$out/checkpoint-5/状态/rank 0.txt"
truncate -s 3 "$out/eval_results.json"
"""
ROTATES = (
    LEAVES
    + """
echo '{"step": 5, "train/loss": 1.5}'
until [ -e "$out/../rotate" ]; do sleep 0.02; done
rm -r "$out/checkpoint-5"; mkdir "$out/checkpoint-9"; printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > "$out/checkpoint-9/model.safetensors"
until [ -e "$out/../end" ]; do sleep 0.02; done
"""
)
"""Saves at step 5, and when told deletes that for another, as `save_total_limit` does."""
LARGE = "truncate -s 400G $TUNEYARD_OUTPUT_DIR/eval_results.json\n"
"""A hole: no bytes on the disk, but minutes of reading."""


def test_every_artifact_of_an_ended_run_gets_the_sums_of_its_files(house: House) -> None:
    project = house.project(script=LEAVES)
    ended = house.ended(project, house.launch(project))

    shown = {each["name"]: each for each in eventually(lambda: _all_summed(house, project, ended["name"]))}

    address = f"/projects/{project}/runs/{ended['name']}/artifacts"
    evaluation, checkpoint = (house.ok("GET", f"{address}/{shown[name]['id']}") for name in ("eval_results.json", "checkpoint-5"))
    assert hashlib.sha256(bytes(3)).hexdigest() == evaluation["sha256"]
    folder = house.training / "runs" / ended["id"] / "output" / "checkpoint-5"
    files = ["model.safetensors", "trainer_state.json", "状态/rank 0.txt"]
    listed = subprocess.run(["sha256sum", *files], cwd=folder, capture_output=True, check=True)
    assert listed.stdout.decode() == "".join(f"{file['sha256']}  {file['path']}\n" for file in checkpoint["manifest"])
    assert hashlib.sha256(listed.stdout).hexdigest() == checkpoint["sha256"]


def test_the_checkpoint_that_a_cancel_kept_is_summed(house: House) -> None:
    project = house.project(script=SAVES)
    name = house.launch(project)
    eventually(lambda: house.run(project, name)["metrics"])

    kept = house.ok("POST", f"/projects/{project}/runs/{name}/cancel")["checkpoint"]

    shown = eventually(lambda: next((each for each in _all_summed(house, project, name) if each["id"] == kept["id"]), None))
    assert ("checkpoint-7", True) == (shown["name"], shown["complete"])


def test_a_rotated_checkpoint_is_not_offered_for_resume_any_more(house: House) -> None:
    project = house.project(script=ROTATES)
    name = house.launch(project)
    first = eventually(lambda: next((each for each in _artifacts(house, project, name) if each["name"] == "checkpoint-5"), None))
    folder = house.training / "runs" / first["run_id"]

    (folder / "rotate").touch()

    gone = eventually(lambda: [each for each in _artifacts(house, project, name) if each["missing"] == DELETED])
    assert ["checkpoint-5"] == [each["name"] for each in gone]
    (folder / "end").touch()
    house.ended(project, name)
    left = {each["name"]: each["complete"] for each in _artifacts(house, project, name)}
    assert {"checkpoint-5": False, "checkpoint-9": True, "eval_results.json": True} == left
    refused = house.client.post(f"/projects/{project}/runs/{name}/resume?source_artifact_id={first['id']}")
    assert (400, True) == (refused.status_code, DELETED in refused.json()["detail"])


def test_neither_the_end_of_a_run_nor_a_deploy_waits_for_sums(house: House) -> None:
    project = house.project(script=LARGE)
    first = house.ended(project, house.launch(project))
    eventually(lambda: _reads(house, "eval_results.json"))

    second = house.ended(project, house.launch(project), within=5)
    begin = time.monotonic()
    house.worker.stop()

    assert "succeeded" == first["status"] == second["status"]
    assert time.monotonic() - begin < 2


def test_what_a_killed_worker_was_reading_is_read_by_the_next(house: House) -> None:
    project = house.project(script=LARGE)
    ended = house.ended(project, house.launch(project))
    eventually(lambda: _reads(house, "eval_results.json"))
    house.worker.kill()
    output = house.training / "runs" / ended["id"] / "output"
    (output / "eval_results.json").unlink()

    house.worker.start()

    now = eventually(lambda: [each for each in _artifacts(house, project, ended["name"]) if not each["complete"]])
    assert [("eval_results.json", DELETED, None)] == [(each["name"], each["missing"], each["sha256"]) for each in now]


async def test_only_complete_artifacts_of_ended_runs_of_this_host_are_left_to_sum(db: Database) -> None:
    ended, living, foreign, nowhere = (
        a_run(status=RunStatus.succeeded, host=HOST),
        a_run(name="living", status=RunStatus.running, host=HOST),
        a_run(name="foreign", status=RunStatus.failed, host="gpu-2"),
        a_run(name="nowhere", status=RunStatus.cancelled),
    )
    things = [
        an_artifact(ended, "old"),
        an_artifact(ended, "new", created_at=AT + timedelta(seconds=1)),
        an_artifact(ended, "half", complete=False),
        an_artifact(ended, "summed", sha256="00"),
        *(an_artifact(run, "of " + run.name, created_at=AT - timedelta(days=1)) for run in (living, foreign, nowhere)),
    ]
    await db.run(keep, ended, living, foreign, nowhere, *things)

    left = await db.read(hosting.unsummed, HOST, limit=9)
    first = await db.read(hosting.unsummed, HOST, limit=1)

    assert ["new", "old", "of nowhere"] == [each.name for each in left]
    assert ["new"] == [each.name for each in first]


async def test_the_unsummed_are_found_by_their_own_index(db: Database) -> None:
    def plan(tx: Tx) -> str:
        sqlite = tx.connection.dialect.name == "sqlite"
        if not sqlite:
            tx.connection.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read without any index
        statement = _UNSUMMED_ARTIFACTS.params(host=HOST).limit(1)
        words = statement.compile(dialect=tx.connection.dialect, compile_kwargs={"literal_binds": True})
        return "\n".join(str(row) for row in tx.connection.execute(text(f"EXPLAIN {'QUERY PLAN' if sqlite else ''} {words}")))

    assert "ix_artifacts_unsummed" in await db.run(plan)


async def test_sums_are_kept_once_and_only_by_who_speaks_for_the_host(db: Database) -> None:
    run = a_run(status=RunStatus.succeeded, host=HOST)
    found = an_artifact(run, "a")
    await db.run(keep, run, found)
    first = Speaker(HOST, (await db.run(hosts.register, a_registration())).lease)
    read = Summed(manifest=[FileSum(path=".", size_bytes=3, sha256="ab")])
    await db.run(hosting.summed, found, first, read)
    second = Speaker(HOST, (await db.run(hosts.register, a_registration())).lease)

    await db.run(hosting.summed, found, second, Summed(missing=DELETED))
    with pytest.raises(Ghost):
        await db.run(hosting.summed, found, first, read)

    kept = await _kept(db, found)
    assert ("ab", 3, True, read.manifest) == (kept.sha256, kept.size_bytes, kept.complete, kept.manifest)


async def test_sums_do_not_undo_a_tag_that_was_set_meanwhile(db: Database) -> None:
    run = a_run(status=RunStatus.succeeded, host=HOST)
    found = an_artifact(run, "a")
    await db.run(keep, run, found)
    speaker = Speaker(HOST, (await db.run(hosts.register, a_registration())).lease)
    await db.run(keep, replace(found, tags=[Tag(tag=TagName.archived, applied_at=AT)]))

    await db.run(hosting.summed, found, speaker, Summed(missing="half of it is gone"))

    kept = await _kept(db, found)
    assert (False, "half of it is gone", [TagName.archived]) == (kept.complete, kept.missing, [each.tag for each in kept.tags])
    assert [] == await db.read(hosting.unsummed, HOST, limit=9)


async def test_what_a_scan_does_not_find_again_was_deleted(db: Database) -> None:
    run = a_run(status=RunStatus.running, host=HOST)
    process = a_process(run.id, phase=Phase.alive, host=HOST)
    elsewhere = an_artifact(run, "elsewhere/checkpoint-1", complete=True)
    await db.run(keep, run, process, elsewhere)
    speaker = Speaker(HOST, (await db.run(hosts.register, a_registration())).lease)
    first, second = (
        Found(type=ArtifactType.checkpoint, path=f"checkpoint-{step}", name=f"checkpoint-{step}", step=step, size_bytes=1, modified_at=1)
        for step in (5, 9)
    )
    await db.run(hosting.found, process.id, speaker, look(first))

    await db.run(hosting.found, process.id, speaker, look(second))
    gone = {each.name: each.missing for each in await db.read(lambda tx: tx.artifacts.of(run.id))}
    await db.run(hosting.found, process.id, speaker, look(first, second))

    back = {each.name: each.complete for each in await db.read(lambda tx: tx.artifacts.of(run.id))}
    assert {"elsewhere/checkpoint-1": None, "checkpoint-5": DELETED, "checkpoint-9": None} == gone
    assert {"elsewhere/checkpoint-1": True, "checkpoint-5": True, "checkpoint-9": True} == back


async def _kept(db: Database, artifact: Artifact) -> Artifact:
    found = await db.read(lambda tx: tx.artifacts.get(artifact.run_id, artifact.id))
    assert found is not None
    return found


def _artifacts(house: House, project: str, run: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = house.ok("GET", f"/projects/{project}/runs/{run}/artifacts")["items"]
    return items


def _all_summed(house: House, project: str, run: str) -> list[dict[str, Any]]:
    found = _artifacts(house, project, run)
    return found if all(each["sha256"] for each in found if each["complete"]) else []


def _reads(house: House, name: str) -> bool:
    """Whether the worker has a file of that name open."""
    assert house.worker.process is not None
    opened = Path(f"/proc/{house.worker.process.pid}/fd")
    return any(link.is_symlink() and str(link.readlink()).endswith(name) for link in opened.iterdir())
