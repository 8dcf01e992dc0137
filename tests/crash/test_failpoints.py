"""A worker dies at every place of its work, before and after each commit; the next one goes on, and nothing is lost or done twice."""

from collections.abc import Iterator

import pytest

from infra.failpoints import EXIT_CODE
from tests.crash import test_job_failpoints as jobs
from tests.crash import test_left_behind as left_behind
from tests.crash.counted import SAVES, Counted, live
from tests.crash.places import actions_run_in, named, points
from tests.crash.test_deployment_failpoints import SITUATIONS
from tests.house import PATIENCE, House, Part, eventually

PLACES = [
    "access.forget",
    "hosts.beat",
    "hosts.leave",
    "hosts.register",
    "processes.place",
    "processes.sweep",
    "runs.began",
    "runs.ended",
    "runs.found",
    "runs.freed",
    "runs.noted",
    "runs.said",
    "runs.summed",
    "runs.take",
    "worker.killed",
    "worker.started",
]
AT_THE_END = {"runs.ended", "runs.freed", "runs.summed", "worker.killed"}
"""What a worker does only once the training is over."""
SAYS_NAN = """
save 5
(while echo '{"step": 1, "train/loss": NaN}'; [ ! -e '%s' ]; do sleep 0.1; done) &
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share; nobody works there but whom a test starts."""
    folder = tmp_path_factory.mktemp("house")
    quick = {"TUNEYARD_GPUS": "1", "TUNEYARD_LEASE_SECONDS": "2", "TUNEYARD_SWEEP_SECONDS": "0.3"}
    house = House(folder, f"sqlite:///{folder}/training.db", **quick)
    house.api.start()
    eventually(house.ready)
    yield house
    house.close()


def test_every_place_where_a_worker_may_die_is_tried() -> None:
    tried = {*PLACES, *SITUATIONS, *jobs.PLACES, *jobs.UNREACHED, *left_behind.PLACES}

    assert tried == actions_run_in("workers", "infra") - actions_run_in("infra/files") | named()


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_may_die_there(house: House, place: str) -> None:
    gate = house.folder / f"{place}.gate"
    toy = Counted(house, code=3, held=True, first=SAVES + SAYS_NAN % gate, name=place)
    run = toy.launch()
    if place in AT_THE_END:
        toy.let_go()

    for point in points(place):
        assert EXIT_CODE == _died_at(house, point, stopped=place == "hosts.leave")

    house.worker.start()
    toy.let_go()
    _assert_once(toy, run)
    house.worker.kill()


def _died_at(house: House, point: str, *, stopped: bool) -> int:
    """Start a worker that dies there; how it ended."""
    doomed = Part("workers", house.environment | {"TUNEYARD_FAILPOINT": point}, house.folder / f"{point}.log")
    doomed.start()
    assert doomed.process is not None
    try:
        if stopped:
            eventually(lambda: "is at work" in doomed.log.read_text())
            return doomed.stop()
        return doomed.process.wait(PATIENCE)
    finally:
        doomed.kill()


def _assert_once(toy: Counted, run: str) -> None:
    ended = toy.ended(run)
    assert ("failed", 3) == (ended["status"], ended["exit_code"]), ended["failure"]
    assert toy.expected == [line for line in toy.said(run) if line.startswith("L ")]
    assert [ended["id"]] == toy.starts()
    assert [1] == [attempt["number"] for attempt in ended["attempts"]]
    assert ["nan_loss"] == toy.conditions(run)
    eventually(lambda: all(artifact["sha256"] for artifact in toy.show(run)["artifacts"]))
    assert ["checkpoint-5"] == [artifact["name"] for artifact in toy.show(run)["artifacts"]]
    assert [None] == [gpu["holder"] for gpu in toy.house.ok("GET", "/v1/hosts/testhost")["gpus"]]
    assert live(toy.house)
