"""A worker dies at every place of its work for a job; the next one goes on, and the dataset has one new version, whole."""

from collections.abc import Iterator

import pytest

from infra.failpoints import EXIT_CODE
from tests.crash.places import points
from tests.crash.test_deployment_failpoints import died_at
from tests.house import House, eventually
from tests.workers.test_jobs import PHONE, TEXT, content, dataset, ordered, over

PLACES = ["jobs.began", "jobs.ended", "jobs.said", "jobs.take"]
UNREACHED = {"jobs.freed"}
"""A job holds no GPU, so there is nothing to give back unless something of it cannot be killed."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that all of these share; nobody works there but whom a test starts."""
    folder = tmp_path_factory.mktemp("house")
    quick = {"TUNEYARD_LEASE_SECONDS": "2", "TUNEYARD_SWEEP_SECONDS": "0.3"}
    house = House(folder, f"sqlite:///{folder}/training.db", **quick)
    house.api.start()
    eventually(house.ready)
    yield house
    house.close()


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_may_die_there(house: House, place: str) -> None:
    name = dataset(house, TEXT.encode(), name=place)
    job = ordered(house, name)

    for point in points(place):
        assert EXIT_CODE == died_at(house, point)

    house.worker.start()
    ended = over(house, job)
    assert ("succeeded", 1, 2) == (ended["status"], ended["attempt"], ended["version"]), ended["failure"]
    assert PHONE not in (after := content(house, name).decode())
    assert 4 == len(after.split("\r\n"))
    house.worker.kill()
