"""What a run may do, step by step, and nothing else."""

import pytest

from domain.errors import Conflict
from domain.runs.run import NEXT, TERMINAL, RunStatus, may_precede
from tests.things import AT, a_run

ALLOWED = {
    "queued": "starting cancelled failed",
    "starting": "running cancelling failed",
    "running": "cancelling succeeded failed",
    "cancelling": "cancelled",
    "succeeded": "",
    "failed": "",
    "cancelled": "",
}
STEPS = [(before, after) for before in RunStatus for after in RunStatus]


@pytest.mark.parametrize(("before", "after"), [step for step in STEPS if step[1] in ALLOWED[step[0]].split()])
def test_a_run_may_take_this_step(before: RunStatus, after: RunStatus) -> None:
    run = a_run(status=before, progress=0.5)

    later = run.to(after, AT.replace(year=2026), exit_code=3)

    assert (after, AT.replace(year=2026), 3, 0.5) == (later.status, later.updated_at, later.exit_code, later.progress)
    assert before is run.status


@pytest.mark.parametrize(("before", "after"), [step for step in STEPS if step[1] not in ALLOWED[step[0]].split()])
def test_a_run_may_not_take_this_step(before: RunStatus, after: RunStatus) -> None:
    run = a_run(status=before)

    with pytest.raises(Conflict, match=f"a run that is {before} cannot become {after}") as refusal:
        run.to(after, AT)

    assert {"run": run.id} == refusal.value.facts


def test_three_states_are_for_good() -> None:
    assert {RunStatus.succeeded, RunStatus.failed, RunStatus.cancelled} == TERMINAL
    assert [status in TERMINAL for status in RunStatus] == [a_run(status=status).over for status in RunStatus]


def test_every_state_leads_to_an_end() -> None:
    for status in RunStatus:
        reached = {status}
        while (further := reached.union(*(NEXT[each] for each in reached))) != reached:
            reached = further
        assert reached & TERMINAL


def test_what_may_precede_a_state_is_itself_and_whatever_leads_there() -> None:
    for after in RunStatus:
        assert {after} | {before for before in RunStatus if after in NEXT[before]} == set(may_precede(after))
        assert after is may_precede(after)[0]


def test_a_run_has_a_folder_of_its_own() -> None:
    run = a_run()

    assert f"runs/{run.id}" == run.folder
