"""How far a process comes, step by step, and that no attempt shares its directory with another."""

import pytest
from msgspec.structs import replace

from domain.errors import Conflict
from domain.processes.process import Phase
from tests.things import AT, HOST, a_process

ALLOWED = {
    "waiting": "placed over",
    "placed": "waiting starting over",
    "starting": "alive over",
    "alive": "over",
    "over": "",
}
STEPS = [(before, after) for before in Phase for after in Phase]


@pytest.mark.parametrize(("before", "after"), STEPS)
def test_a_process_takes_the_steps_it_may_and_no_other(before: Phase, after: Phase) -> None:
    process = a_process(phase=before)

    if after in ALLOWED[before].split():
        assert (after, HOST) == ((later := process.to(after, AT, host=HOST)).phase, later.host)
    else:
        with pytest.raises(Conflict, match=f"a process that is {before} cannot become {after}"):
            process.to(after, AT)


def test_every_attempt_has_a_directory_of_its_own() -> None:
    process = a_process("run_1")

    assert "runs/run_1/attempt-1" == process.directory
    assert "runs/run_1/attempt-2" == replace(process, attempt=2).directory
