"""A run in a container from the request to its end: a real engine, a real worker, and the documents' own relative working directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker import PrivateEngine
from tests.house import House

pytestmark = pytest.mark.docker

SCRIPT = """
pwd
sed -n 's/^\\(dataset\\|output_dir\\): //p' "$1"
head -c 13 "$(sed -n 's/^dataset: //p' "$1")"; echo
echo made > "$TUNEYARD_OUTPUT_DIR/made"
"""


def test_a_run_in_a_container_reads_and_writes_the_training_directory_where_it_is_mounted(
    make_house: Callable[..., House], docker_engine: PrivateEngine, sqlite_url: str, tmp_path: Path
) -> None:
    inside = f"{tmp_path}/house-0/scripts:/KTIP_Release_2.1.0/train/llm:ro"
    container = docker_engine.container("whole", mounts=(f"{tmp_path}/house-0/training:/data", inside))
    house = make_house(
        sqlite_url,
        TUNEYARD_EXECUTOR="docker",
        DOCKER_HOST=docker_engine.address,
        DOCKER_CONTAINER_NAME=container,
        TUNEYARD_CONTAINER_TRAINING_PATH="/data",
    )
    project = house.project(script=SCRIPT)

    name = house.launch(project)
    run = house.ended(project, name)

    lines = house.lines(project, name)
    assert ("succeeded", 0) == (run["status"], run["exit_code"]), lines
    assert "/KTIP_Release_2.1.0/train/llm" == lines[1]
    assert all(line.startswith("/data/") for line in lines[2:4]), lines
    assert '{"messages": ' == lines[4]
    assert len(list(house.training.glob("runs/*/output/made"))) == 1


def test_without_an_engine_a_run_says_what_is_missing_and_how_to_do_without(make_house: Callable[..., House], sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_EXECUTOR="docker", DOCKER_HOST="unix:///nowhere/docker.sock")
    project = house.project()

    run = house.ended(project, house.launch(project))

    assert ("failed", "infrastructure") == (run["status"], run["failure"]["class"])
    assert "engine at unix:///nowhere/docker.sock cannot be reached" in run["failure"]["reason"]
    assert "TUNEYARD_EXECUTOR=local" in run["failure"]["reason"]
