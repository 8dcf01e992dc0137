"""Cancelling: it always ends, keeps the newest complete checkpoint, and leaves nothing alive."""

import json
from pathlib import Path

from tests.house import House, eventually

SAVES = """
out=$TUNEYARD_OUTPUT_DIR
save() {
  mkdir -p "$out/checkpoint-$1" && printf '{"global_step": %s}' "$1" > "$out/checkpoint-$1/trainer_state.json"
  printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > "$out/checkpoint-$1/model.safetensors"
}
trap 'save 7; echo saved; exit 143' TERM
save 5; echo '{"step": 9, "max_steps": 100, "train/loss": 1.5}'
while true; do sleep 0.05; done
"""
"""A toy standing in for a trainer: it has a checkpoint at step 5, is at step 9, and saves another at TERM."""
MEASURES = """echo '{"step": 1, "train/loss": 2.0}'; while true; do sleep 0.05; done\n"""
"""The end of a toy that measures once and goes on for ever."""


def test_a_cancelled_run_keeps_the_checkpoint_it_saved_at_the_signal(house: House) -> None:
    project, name = _running(house, SAVES)

    answer = house.client.post(f"/projects/{project}/runs/{name}/cancel")

    assert 200 == answer.status_code, answer.text
    cancelled = answer.json()
    assert ("cancelled", "已取消") == (cancelled["status"], cancelled["status_label"])
    assert cancelled["cancelled_at"]
    assert ("checkpoint-7", True, 7) == tuple(cancelled["checkpoint"][key] for key in ("name", "complete", "step"))
    assert 2 == cancelled["lost_steps"]
    assert cancelled["checkpoint"] in cancelled["artifacts"]
    assert "saved" in house.lines(project, name)
    again = house.client.post(f"/projects/{project}/runs/{name}/cancel")
    assert (200, cancelled) == (again.status_code, again.json())


def test_one_that_will_not_stop_is_killed_with_its_children(house: House) -> None:
    project, name = _running(
        house,
        "trap '' TERM INT\nsetsid bash -c 'trap \"\" TERM; echo child $$; while true; do sleep 1; done' &\n" + MEASURES,
    )
    child = eventually(lambda: next((line for line in house.lines(project, name) if line.startswith("child ")), None)).split()[1]

    answer = house.client.post(f"/projects/{project}/runs/{name}/cancel?force=true", headers={"Prefer": "wait=20"})

    assert (200, "wait=20") == (answer.status_code, answer.headers["Preference-Applied"])
    assert (None, "the training left no checkpoint") == (answer.json()["checkpoint"], answer.json()["checkpoint_note"])
    assert not _lives(child)


def test_a_patient_caller_is_told_that_it_is_still_stopping(house: House) -> None:
    project, name = _running(
        house, "trap 'sleep 2; exit 0' TERM\necho '{\"step\": 1, \"train/loss\": 2.0}'; while true; do sleep 0.05; done\n"
    )

    answer = house.client.post(f"/projects/{project}/runs/{name}/cancel", headers={"Prefer": "wait=0"})

    assert (202, "cancelling", None) == (answer.status_code, answer.json()["status"], answer.json()["checkpoint"])
    ended = house.ended(project, name)
    assert ("cancelled", 0) == (ended["status"], ended["exit_code"])  # decided by the wish, never by the exit code


def test_a_killed_worker_cancels_what_was_asked_for(house: House) -> None:
    project, name = _running(house, SAVES)
    house.worker.kill()

    asked = house.client.post(f"/projects/{project}/runs/{name}/cancel", headers={"Prefer": "wait=0"})
    house.worker.start()

    assert 202 == asked.status_code
    assert "cancelled" == house.ended(project, name)["status"]


def test_a_queued_run_is_cancelled_at_once(house: House) -> None:
    project = house.project(script="echo never")
    name = house.launch(project, resources={"gpu_count": 8})

    answer = house.client.post(f"/projects/{project}/runs/{name}/cancel")

    assert (200, "cancelled") == (answer.status_code, answer.json()["status"])
    assert [] == house.lines(project, name)


def test_what_has_ended_cannot_be_cancelled(house: House) -> None:
    project = house.project(script="true")
    name = house.launch(project)
    house.ended(project, name)

    answer = house.client.post(f"/projects/{project}/runs/{name}/cancel")

    assert 409 == answer.status_code
    assert "succeeded already" in answer.json()["detail"]


def test_a_checkpoint_is_tagged_in_either_language(house: House) -> None:
    project, name = _running(house, SAVES)
    cancelled = house.client.post(f"/projects/{project}/runs/{name}/cancel").json()
    path = f"/projects/{project}/runs/{name}/artifacts/{cancelled['checkpoint']['id']}/tag"

    house.ok("POST", path, json={"tag": "candidate"})
    tagged = house.ok("POST", path, json={"tag": "发布", "notes": "在验证集上 BLEU 32.5，通过复核"})

    assert [("候选", "candidate", None), ("发布", "release", "在验证集上 BLEU 32.5，通过复核")] == [
        (each["value"], each["code"], each["notes"]) for each in tagged["tags"]
    ]
    assert tagged == house.ok("GET", path.removesuffix("/tag"))
    refused = house.client.post(path, content=json.dumps({"tag": "最好"}))
    assert (400, "tag") == (refused.status_code, refused.json()["errors"][0]["field"])


def _lives(pid: str) -> bool:
    """Whether it does; what is dead and merely not yet noticed by its parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def _running(house: House, script: str) -> tuple[str, str]:
    """Launch a training that runs and has measured something."""
    project = house.project(script=script)
    name = house.launch(project)
    eventually(lambda: house.run(project, name)["metrics"])
    return project, name
