"""What a training leaves behind: it does not keep its run from ending, and what it holds is given to nobody else while it lives."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from infra.failpoints import EXIT_CODE
from tests.crash.counted import TOY, Counted, kill_both, lives
from tests.crash.places import points
from tests.house import PATIENCE, House, Part, eventually
from tests.toys import count

FORK = f"""
"$PYTHON" -S '{TOY}' --lines 0 --until /nowhere &
echo $!
exec "$PYTHON" -S '{TOY}' --lines 5 --until /nowhere
"""
FLEES = """
if [ -e child ]; then
  grep -q '^State:.[^ZX]' "/proc/$(cat child)/status" && echo "two on one GPU"
  exit 0
fi
"$PYTHON" -S -c 'import os, time; os.setsid(); os.closerange(3, 256); time.sleep(1000)' &
echo $! > child
"""
"""The first training ends and leaves a child that holds nothing of it but the GPU; the second looks whether that still lives."""
PLACES = ["processes.outlived"]
"""Where a worker may die that only what is left behind leads to."""
FREEZER = Path("/sys/fs/cgroup/freezer")


def test_a_child_that_outlives_a_training_killed_with_its_shim_is_ended_and_so_is_the_run(house: House) -> None:
    project = house.project(script=FORK)
    run = house.launch(project)
    eventually(lambda: count.line(4).decode().strip() in house.lines(project, run))
    child = int(house.lines(project, run)[1])
    state = json.loads((house.training / "runs" / house.run(project, run)["id"] / "attempt-1" / "state.json").read_text())

    kill_both(state["shim_pid"], state["pid"])

    eventually(lambda: house.run(project, run)["attempt"] == 2)
    assert not lives(child)


def test_a_gpu_is_given_on_only_when_nothing_of_its_last_holder_lives(make_house: Callable[..., House], sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_GPUS="1", TUNEYARD_SWEEP_SECONDS="0.3")
    project = house.project(script=FLEES)

    runs = [house.launch(project) for _ in range(2)]

    assert ["succeeded"] * 2 == [house.ended(project, run)["status"] for run in runs]
    assert (house.scripts / "child").exists()
    assert "two on one GPU" not in house.lines(project, runs[1])
    assert [None] == [gpu["holder"] for gpu in house.ok("GET", "/v1/hosts/testhost")["gpus"]]


def test_what_cannot_be_killed_is_marked_and_its_gpu_given_to_nobody_until_it_is_returned(
    make_house: Callable[..., House], sqlite_url: str
) -> None:
    house = make_house(sqlite_url, TUNEYARD_GPUS="1", TUNEYARD_SWEEP_SECONDS="0.3")
    toy = Counted(house, held=True)
    run = toy.counting()
    trainer = toy.trainer(run)

    with _hanging(trainer):
        toy.cancel(run, force=True)
        assert ("cancelled", ["unkillable"]) == (toy.ended(run)["status"], toy.conditions(run))
        after = house.launch(toy.name, resources={"gpu_count": 1})
        eventually(lambda: "1 块被隔离" in (toy.show(after)["waiting"] or {}).get("text", ""))

    eventually(lambda: not lives(trainer))
    assert "queued" == toy.show(after)["status"]
    house.ok("POST", "/v1/hosts/testhost/gpus/0/return")
    toy.let_go()
    toy.assert_whole(after)


@pytest.mark.parametrize("point", [None, *points(PLACES[0])])
def test_what_outlives_a_run_that_was_declared_dead_keeps_its_gpu_from_others(
    make_house: Callable[..., House], sqlite_url: str, point: str | None
) -> None:
    house = make_house(sqlite_url, TUNEYARD_GPUS="1", TUNEYARD_LEASE_SECONDS="1", TUNEYARD_SWEEP_SECONDS="0.3")
    toy = Counted(house, held=True)
    run = toy.counting()
    trainer = toy.trainer(run)
    house.worker.kill()
    eventually(lambda: house.hosts() == {"testhost": "lost"})
    house.ok("POST", f"/projects/{toy.name}/runs/{run}/declare-dead")

    with _hanging(trainer):
        if point is not None:
            dying = Part("workers", house.environment | {"TUNEYARD_FAILPOINT": point}, house.worker.log)
            dying.start()
            assert dying.process
            assert EXIT_CODE == dying.process.wait(PATIENCE)
        house.worker.start()
        eventually(lambda: house.hosts() == {"testhost": "live"})
        (gpu,) = house.ok("GET", "/v1/hosts/testhost")["gpus"]

    assert f"pids {trainer} of process" in gpu["set_aside"]
    eventually(lambda: not lives(trainer))


@contextmanager
def _hanging(pid: int) -> Iterator[None]:
    """Let a process hang in the kernel, where no signal reaches it; the freezer of control groups of version 1 does that."""
    group = FREEZER / f"tuneyard-test-{uuid4().hex}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
    except OSError as error:
        pytest.skip(f"a process that hangs needs root and the freezer of control groups of version 1: {error}")
    try:
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
