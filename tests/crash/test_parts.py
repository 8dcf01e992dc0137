"""Every other part dies: the API, Redis, the database's connections. Trainings go on, and what was promised is kept."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from infra import embedded
from tests.contracts.databases import drop_connections
from tests.crash.counted import Counted, lives
from tests.house import House, eventually


def test_a_killed_api_changes_nothing_for_a_run(house: House) -> None:
    toy = Counted(house, lines=2_000, rate=1_500, code=2)
    run = toy.launch()
    toy.wait_for(run, 200)

    house.api.kill()
    house.api.start()
    eventually(house.ready)

    toy.assert_whole(run, status="failed", code=2)


def test_a_cancel_goes_on_though_the_api_is_killed(house: House) -> None:
    toy = Counted(house, held=True, first="trap 'sleep 0.5; exit 143' TERM\n(while :; do sleep 0.05; done) & wait\n")
    run = toy.launch()
    eventually(lambda: toy.show(run)["status"] == "running")
    toy.cancel(run)

    house.api.kill()
    house.api.start()
    eventually(house.ready)

    assert ("cancelled", 143) == (toy.ended(run)["status"], toy.show(run)["exit_code"])


def test_everything_of_ours_may_die_at_once(house: House) -> None:
    toy = Counted(house, held=True)
    run = toy.counting()
    trainer = toy.recorded(run, "state.json")["pid"]

    house.worker.kill()
    house.api.kill()
    toy.let_go()
    eventually(lambda: not lives(trainer))
    house.start()

    toy.assert_whole(run)


def test_without_redis_runs_start_within_a_sweep_and_with_it_at_once_again(
    make_house: Callable[..., House], sqlite_url: str, tmp_path: Path
) -> None:
    with embedded.redis(tmp_path / "redis") as redis:
        house = make_house(sqlite_url, redis.url, TUNEYARD_SWEEP_SECONDS="1")
        toy = Counted(house)
        redis.process.kill()
        redis.process.wait()
        eventually(lambda: house.ok("GET", "/_internal/health")["queue"] == "down")

        began = time.monotonic()
        run = toy.launch()
        launched = time.monotonic() - began
        toy.assert_whole(run)
        took = time.monotonic() - began

    assert launched < 2
    assert took < 1 + 5


def test_a_redis_that_comes_back_rings_again(make_house: Callable[..., House], sqlite_url: str, tmp_path: Path) -> None:
    with embedded.redis(tmp_path / "redis") as redis:
        house = make_house(sqlite_url, redis.url, TUNEYARD_SWEEP_SECONDS="600")
        toy = Counted(house)
        toy.assert_whole(toy.launch())

    unheard = toy.launch()
    with embedded.redis(tmp_path / "redis"):

        def heard() -> str | None:
            run = toy.launch()
            end = time.monotonic() + 1
            while time.monotonic() < end:
                if toy.show(run)["status"] == "succeeded":
                    return run
            return None

        toy.assert_whole(eventually(heard) or "")

        assert "queued" == toy.show(unheard)["status"]


def test_a_database_that_drops_every_connection_costs_no_log_line(
    make_house: Callable[..., House], postgresql_url: str, redis_url: str
) -> None:
    house = make_house(postgresql_url, redis_url, TUNEYARD_SWEEP_SECONDS="0.5")
    toy = Counted(house, lines=2_000, rate=1_500)
    run = toy.launch()

    for lines in (200, 600, 1_000):
        toy.wait_for(run, lines)
        asyncio.run(drop_connections(postgresql_url))

    toy.assert_whole(run)
    assert house.worker.process is not None
    assert house.worker.process.poll() is None
