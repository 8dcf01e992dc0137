"""What a training leaves running does not keep its run from ending, even when nobody recorded that it ended."""

import json

from tests.crash.counted import TOY, kill_both, lives
from tests.house import House, eventually
from tests.toys import count

FORK = f"""
"$PYTHON" -S '{TOY}' --lines 0 --until /nowhere &
echo $!
exec "$PYTHON" -S '{TOY}' --lines 5 --until /nowhere
"""


def test_a_child_that_outlives_a_training_killed_with_its_shim_is_ended_and_so_is_the_run(house: House) -> None:
    project = house.project(script=FORK)
    run = house.launch(project)
    eventually(lambda: count.line(4).decode().strip() in house.lines(project, run))
    child = int(house.lines(project, run)[1])
    state = json.loads((house.training / "runs" / house.run(project, run)["id"] / "attempt-1" / "state.json").read_text())

    kill_both(state["shim_pid"], state["pid"])

    eventually(lambda: house.run(project, run)["attempt"] == 2)
    assert not lives(child)
