"""What may be the matter with a training is seen, said and, where its project wishes, acted upon; our own faults are not its silence."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.counted import SAVES, Counted, dawdle
from tests.house import House, eventually
from tests.proxy import proxied

STALLED = 1.0
SAVES_WHEN_ASKED = f"{SAVES}trap 'save 7; exit 143' TERM\n"
WAITS = "while :; do sleep 0.05; done\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share."""
    folder = tmp_path_factory.mktemp("house")
    house = House(folder, f"sqlite:///{folder}/training.db", TUNEYARD_SWEEP_SECONDS="0.3").start()
    yield house
    house.close()


def test_a_silent_training_has_stalled_until_it_speaks_again(house: House) -> None:
    gates = [house.folder / f"gate-{number}" for number in range(2)]
    waiting = [f"until [ -e '{gate}' ]; do sleep 0.05; done" for gate in gates]
    run = _launch(house, "silent", f"echo one; {waiting[0]}; echo two; {waiting[1]}", stalled_after_seconds=STALLED)

    eventually(lambda: _conditions(house, "silent", run) == ["stalled"])
    assert "running" == house.run("silent", run)["status"]
    gates[0].touch()
    eventually(lambda: _conditions(house, "silent", run) == [])
    gates[1].touch()

    assert ("succeeded", []) == (house.ended("silent", run)["status"], _conditions(house, "silent", run))


@pytest.mark.parametrize(
    ("name", "script", "watch"),
    [
        ("stalled", f"echo one; {WAITS}", {"stalled_after_seconds": STALLED, "stop_when_stalled": True}),
        ("nan_loss", f"""echo '{{"step": 7, "train/loss": NaN}}'; {WAITS}""", {"stop_on_nan": True}),
    ],
)
def test_a_training_that_is_to_be_stopped_then_saves_and_leaves(house: House, name: str, script: str, watch: dict[str, object]) -> None:
    run = _launch(house, name, SAVES_WHEN_ASKED + script, **watch)

    ended = house.ended(name, run)

    assert ("cancelled", [("checkpoint-7", True)]) == (ended["status"], [(each["name"], each["complete"]) for each in ended["artifacts"]])
    assert any("not a finite number" in line or "has said nothing" in line for line in house.lines(name, run))
    assert (["nan_loss"] if name == "nan_loss" else []) == _conditions(house, name, run)


def test_a_nan_is_only_noted_where_nobody_wished_to_stop(house: House) -> None:
    run = _launch(house, "noted", """echo '{"step": 7, "train/loss": NaN}'; echo on""")

    assert ("succeeded", ["nan_loss"]) == (house.ended("noted", run)["status"], _conditions(house, "noted", run))


def test_output_that_somebody_cut_is_an_explicit_gap(house: House) -> None:
    toy = Counted(house, held=True, name="cut")
    run = toy.counting()

    os.truncate(toy.directory(run) / "out.log", 10)

    eventually(lambda: toy.conditions(run) == ["log_gap"])
    toy.let_go()
    assert ("succeeded", ["log_gap"]) == (toy.ended(run)["status"], toy.conditions(run))
    assert toy.expected == [line for line in toy.said(run) if line.startswith("L ")]


def test_trainings_are_not_silent_because_the_database_is(make_house: Callable[..., House], postgresql_url: str, tmp_path: Path) -> None:
    with proxied(postgresql_url) as (line, url):
        house = make_house(postgresql_url, TUNEYARD_SWEEP_SECONDS="0.3")
        gate = tmp_path / "gate"
        house.worker.stop()
        house.worker.environment["TRAINING_DB_URL"] = url
        house.worker.start()
        speaks = f"until [ -e '{gate}' ]; do echo here; sleep 0.2; done"
        runs = [_launch(house, f"speaking-{number}", speaks, stalled_after_seconds=STALLED, stop_when_stalled=True) for number in range(4)]
        both = [(f"speaking-{number}", run) for number, run in enumerate(runs)]
        for project, run in both:
            eventually(lambda: "here" in house.lines(project, run))  # noqa: B023 - asked at once

        line.reset()
        dawdle(2.6 * STALLED)  # so that most are looked at before what they said can be stored
        line.pass_on()
        for project, run in both:
            said = len(house.lines(project, run))
            eventually(lambda: len(house.lines(project, run)) > said + 8)  # noqa: B023 - as above
        gate.touch()

        assert {("succeeded", ())} == {(house.ended(*each)["status"], tuple(_conditions(house, *each))) for each in both}


def _launch(house: House, project: str, script: str, **watch: object) -> str:
    house.project(project, script=f"{script}\n")
    house.ok("PATCH", f"/projects/{project}", json={"watch": watch})
    return house.launch(project)


def _conditions(house: House, project: str, run: str) -> list[str]:
    return [each["name"] for each in house.run(project, run)["conditions"]]
