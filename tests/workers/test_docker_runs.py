"""Runs in containers from the request to their end: a real engine, a real worker, a real trainer, and engines and containers that die."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docker import IMAGE, PROGRAMS, PrivateEngine
from tests.house import REPOSITORY, House, eventually
from tests.toys import devour

pytestmark = pytest.mark.docker

PROJECT = "容器训练"
NOBODY = "65534:65533"
"""A user and a group that own nothing."""
SCRIPTS = "/KTIP_Release_2.1.0/train/llm"
"""The documents' own working directory."""
SCRIPT = """
pwd
sed -n 's/^\\(dataset\\|output_dir\\): //p' "$1"
head -c 13 "$(sed -n 's/^dataset: //p' "$1")"; echo
echo made > "$TUNEYARD_OUTPUT_DIR/made"
"""
SAVES = """
save() {
  cd "$TUNEYARD_OUTPUT_DIR" && mkdir -p checkpoint-$1 && printf '{"global_step": %s}' $1 > checkpoint-$1/trainer_state.json
  printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > checkpoint-$1/model.safetensors
}
trap 'save 7; exit 143' TERM
for line in $(seq 200); do echo line $line; done
echo '{"step": 9, "train/loss": 1.5}'
until [ -e go ]; do sleep 0.05; done
"""
"""A toy standing in for a trainer: it saves at TERM, and ends by itself when there is a file `go`."""
TRAINER = REPOSITORY / "examples" / "tiny_trainer"
LIBRARIES = Path(np.__file__).parents[1]
STEPS = {"max_steps": 40, "save_steps": 10, "logging_steps": 1, "num_train_epochs": 20, "learning_rate": 0.01, "seed": 7}


@pytest.fixture
def container(docker_engine: PrivateEngine, tmp_path: Path) -> Iterator[str]:
    """A container with the training directory at /data and the scripts where the documents have them."""
    mounts = (f"{tmp_path}/house-0/training:/data", f"{tmp_path}/house-0/scripts:{SCRIPTS}:ro", f"{devour.__file__}:/devour.py:ro")
    yield docker_engine.container("whole", mounts=mounts)
    docker_engine.docker("rm", "--force", "whole")


@pytest.fixture
def house(make_house: Callable[..., House], docker_engine: PrivateEngine, container: str, sqlite_url: str) -> House:
    """A house whose trainings run in that container."""
    return make_house(
        sqlite_url,
        TUNEYARD_EXECUTOR="docker",
        DOCKER_HOST=docker_engine.address,
        DOCKER_CONTAINER_NAME=container,
        TUNEYARD_CONTAINER_TRAINING_PATH="/data",
        TUNEYARD_RETRY_SECONDS="0.1",
    )


@pytest.fixture(params=["exec", "run"])
def trained(
    request: pytest.FixtureRequest, make_house: Callable[..., House], docker_engine: PrivateEngine, sqlite_url: str, tmp_path: Path
) -> Iterator[House]:
    """A house whose real tiny trainer runs in a container that is there, or in one for each run."""
    mounts = (f"{TRAINER}:{TRAINER}:ro", f"{LIBRARIES}:/libraries:ro")
    words = {"DOCKER_CONTAINER_NAME": "trained"}
    if request.param == "exec":
        docker_engine.container("trained", mounts=(f"{tmp_path}/house-0/training:/data", *mounts))
    else:
        words = {"TUNEYARD_DOCKER_MODE": "run", "TUNEYARD_DOCKER_IMAGE": IMAGE, "TUNEYARD_DOCKER_MOUNTS": ",".join([*PROGRAMS, *mounts])}
    yield make_house(
        sqlite_url,
        TUNEYARD_EXECUTOR="docker",
        DOCKER_HOST=docker_engine.address,
        DOCKER_WORKING_DIR=str(TRAINER),
        TUNEYARD_CONTAINER_TRAINING_PATH="/data",
        TUNEYARD_START_COMMAND="env PYTHONPATH=/libraries bash run_train_full_sft.sh <training_yaml>",
        **words,
    )
    if left := _containers(docker_engine):
        docker_engine.docker("rm", "--force", *left)


def test_a_training_in_a_container_is_cancelled_and_resumed_to_its_end(trained: House, docker_engine: PrivateEngine) -> None:
    data = (REPOSITORY / "examples" / "data" / "sample.jsonl").read_bytes()
    trained.ok("POST", "/v1/datasets", json={"name": "问答", "task_type": "sft"})
    trained.ok("PUT", "/v1/datasets/问答/files", files={"file": ("sample.jsonl", data)})
    body = {"name": PROJECT, "dataset_name": "datasets/sample.jsonl", "base_model": "tiny", "default_hyperparameters": STEPS}
    trained.ok("POST", "/projects", json=body)
    broken = trained.launch(PROJECT, hyperparameters={"step_delay_seconds": 0.05})
    eventually(lambda: any(step > 12 for step in _losses(trained, broken)))

    checkpoint = trained.ok("POST", f"/projects/{PROJECT}/runs/{broken}/cancel")["checkpoint"]
    resume = f"/projects/{PROJECT}/runs/{broken}/resume?source_artifact_id={checkpoint['id']}"
    resumed = trained.ok("POST", resume, json={"hyperparameters": {"step_delay_seconds": 0}})["name"]
    end = trained.ended(PROJECT, resumed)

    assert (True, True) == (checkpoint["complete"], checkpoint["step"] > 12)
    assert ("succeeded", 0) == (end["status"], end["exit_code"]), trained.lines(PROJECT, resumed)
    losses = {**_losses(trained, broken), **_losses(trained, resumed)}
    assert list(range(checkpoint["step"] + 1, 41)) == sorted(_losses(trained, resumed))
    assert losses[40] < losses[checkpoint["step"]] < losses[1]
    model = next(each for each in end["artifacts"] if each["type"] == "model")
    tagged = trained.ok("POST", f"/projects/{PROJECT}/runs/{resumed}/artifacts/{model['id']}/tag", json={"tag": "发布"})
    assert ["release"] == [each["code"] for each in tagged["tags"]]
    assert [] == [name for name in _containers(docker_engine) if name != "trained"]


def test_a_run_in_a_container_reads_and_writes_the_training_directory_where_it_is_mounted(house: House) -> None:
    project = house.project(script=SCRIPT)

    name = house.launch(project)
    run = house.ended(project, name)

    lines = house.lines(project, name)
    assert ("succeeded", 0) == (run["status"], run["exit_code"]), lines
    assert SCRIPTS == lines[1]
    assert all(line.startswith("/data/") for line in lines[2:4]), lines
    assert '{"messages": ' == lines[4]
    assert len(list(house.training.glob("runs/*/output/made"))) == 1


def test_a_training_as_another_user_reads_what_it_needs_leaves_what_it_makes_and_is_cancelled(
    make_house: Callable[..., House], docker_engine: PrivateEngine, container: str, sqlite_url: str
) -> None:
    where = {"DOCKER_HOST": docker_engine.address, "DOCKER_CONTAINER_NAME": container, "TUNEYARD_CONTAINER_TRAINING_PATH": "/data"}
    house = make_house(sqlite_url, TUNEYARD_EXECUTOR="docker", TUNEYARD_DOCKER_USER=NOBODY, **where)
    project = house.project(script=f"id -u; id -g\n{SCRIPT}{SAVES}")
    name = house.launch(project)
    eventually(lambda: "line 200" in house.lines(project, name))

    cancelled = house.ok("POST", f"/projects/{project}/runs/{name}/cancel")

    assert NOBODY.split(":") == house.lines(project, name)[1:3]
    assert '{"messages": ' in house.lines(project, name)
    assert ("cancelled", "checkpoint-7", True) == (cancelled["status"], *(cancelled["checkpoint"][key] for key in ("name", "complete")))


def test_an_engine_killed_under_a_run_changes_nothing_at_all(house: House, docker_engine: PrivateEngine) -> None:
    project, name = _running(house)

    with docker_engine.dead():
        (house.scripts / "go").touch()
        run = house.ended(project, name)

    assert ("succeeded", 0, []) == (run["status"], run["exit_code"], run["conditions"])
    assert [f"line {number}" for number in range(1, 201)] == [line for line in house.lines(project, name) if line.startswith("line ")]


def test_a_run_is_cancelled_with_its_checkpoint_while_the_engine_is_dead(house: House, docker_engine: PrivateEngine) -> None:
    project, name = _running(house)

    with docker_engine.dead():
        cancelled = house.ok("POST", f"/projects/{project}/runs/{name}/cancel")

    assert ("cancelled", "checkpoint-7", True) == (
        cancelled["status"],
        cancelled["checkpoint"]["name"],
        cancelled["checkpoint"]["complete"],
    )


def test_a_container_killed_under_a_run_is_the_infrastructures_failure(house: House, docker_engine: PrivateEngine, container: str) -> None:
    project, name = _running(house)

    docker_engine.docker("kill", container)
    run = house.ended(project, name)

    first, *_ = (attempt["failure"] for attempt in run["attempts"])
    assert ("infrastructure", f"the container {container} was stopped while it ran (exit code 137)") == (first["class"], first["reason"])
    assert ("failed", "infrastructure") == (run["status"], run["failure"]["class"])
    assert "is not running (exited); start it with `docker start" in run["failure"]["reason"]


def test_a_container_stopped_under_a_cancelled_run_leaves_it_cancelled(house: House, docker_engine: PrivateEngine, container: str) -> None:
    project, name = _running(house, SAVES.replace("exit 143", "sleep 100"))
    house.client.post(f"/projects/{project}/runs/{name}/cancel", headers={"Prefer": "wait=0"})

    docker_engine.docker("kill", container)

    assert "cancelled" == house.ended(project, name)["status"]


def test_a_container_out_of_memory_is_told_from_a_failure_of_the_training(
    house: House, docker_engine: PrivateEngine, container: str
) -> None:
    docker_engine.docker("update", "--memory", "64m", "--memory-swap", "64m", container)
    project = house.project(script="python3 -S /devour.py; exit $?")

    run = house.ended(project, house.launch(project))

    failure = run["failure"]
    assert ("failed", "out_of_memory", 137) == (run["status"], failure["class"], run["exit_code"])
    assert "the oom_kill counter of its control group rose from 0 to 1" in failure["reason"]


def test_without_an_engine_a_run_says_what_is_missing_and_how_to_do_without(make_house: Callable[..., House], sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_EXECUTOR="docker", DOCKER_HOST="unix:///nowhere/docker.sock")
    project = house.project()

    run = house.ended(project, house.launch(project))

    assert ("failed", "infrastructure") == (run["status"], run["failure"]["class"])
    assert "engine at unix:///nowhere/docker.sock cannot be reached" in run["failure"]["reason"]
    assert "TUNEYARD_EXECUTOR=local" in run["failure"]["reason"]


def _running(house: House, script: str = SAVES) -> tuple[str, str]:
    """Launch a training that runs and has measured something."""
    project = house.project(script=script)
    name = house.launch(project)
    eventually(lambda: house.run(project, name)["metrics"])
    return project, name


def _losses(house: House, run: str) -> dict[int, float]:
    items: list[dict[str, Any]] = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/metrics?name=train/loss")["items"]
    return {item["step"]: item["value"] for item in items}


def _containers(engine: PrivateEngine) -> list[str]:
    """Name those that trainings of this file were given."""
    names = engine.docker("ps", "--all", "--format", "{{.Names}}").split()
    return [name for name in names if name == "trained" or name.startswith("tuneyard-")]
