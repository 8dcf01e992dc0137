"""The database dies, falls silent, is full, or its answer is lost: no training notices, and nothing that was said or wanted is lost."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx
import pytest

from infra.embedded import Postgresql, postgresql
from tests.contracts.databases import told
from tests.crash.counted import Counted, dawdle, lives
from tests.house import House, Part, eventually
from tests.proxy import Proxy, proxied
from workers.life import LINGER_SECONDS

GRACE = 1
"""Seconds; with the second word a training that ignores TERM is killed two seconds later."""
LEASE = 1
QUICK = {"TUNEYARD_GRACE_SECONDS": str(GRACE), "TUNEYARD_LEASE_SECONDS": str(LEASE), "TUNEYARD_SWEEP_SECONDS": "0.5"}
ROOM = 48 * 1024 * 1024
"""Bytes of the small disk."""


class Server:
    """A PostgreSQL of these tests' own."""

    def __init__(self, folder: Path, server: Postgresql) -> None:
        self.folder = folder
        self.url = server.url
        self._server = server

    def database(self, **options: str) -> str:
        """Make a database; its URL."""
        name = f"test_{uuid4().hex}"
        where = "".join(f" {key} {value}" for key, value in options.items())
        asyncio.run(told(self.url, f"CREATE DATABASE {name}{where}"))
        return self.url.replace("/postgres?", f"/{name}?")

    def kill(self) -> None:
        """End it as a power cut would, with everything it has forked."""
        pid = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # its own immediate end; a SIGKILL of the one would leave the others to be found
        eventually(lambda: not lives(pid))

    def start(self) -> None:
        """Start it again."""
        self._server.start()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="tuneyard-postgresql-") as folder, postgresql(Path(folder)) as own:
        # A commit that was answered must survive the kill of the server; that of the machine is not tested.
        for wish in ("ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()"):
            asyncio.run(told(own.url, wish))
        yield Server(Path(folder), own)


@contextmanager
def killed(server: Server, _line: Proxy) -> Iterator[None]:
    """It dies, and is started again."""
    server.kill()
    yield
    server.start()


@contextmanager
def silent(_server: Server, line: Proxy) -> Iterator[None]:
    """No connection is cut, and none that was used meanwhile ever hears an answer again."""
    line.drop_reply(times=10**6, hang_up=False)
    yield
    line.pass_on()


@pytest.mark.parametrize("fault", [killed, silent])
def test_a_database_that_is_gone_for_a_while_costs_nothing(
    make_house: Callable[..., House], server: Server, fault: Callable[[Server, Proxy], AbstractContextManager[None]]
) -> None:
    with proxied(server.database()) as (line, url):
        house = make_house(url, **QUICK)
        running = Counted(house, lines=3_000, rate=500, name="running")
        run = running.launch()
        running.wait_for(run, 200)
        finishing = Counted(house, code=7, held=True, name="finishing")
        finished = finishing.counting()
        stubborn = Counted(house, lines=100_000, rate=100, name="stubborn", first="trap '' TERM")  # it speaks all the while
        cancelled = stubborn.launch()
        stubborn.wait_for(cancelled, 10)
        trainer = stubborn.trainer(cancelled)
        stubborn.cancel(cancelled)
        eventually((stubborn.directory(cancelled) / "stop").exists)
        # What it leaves behind speaks all the while, so there is always something that cannot be stored.
        forking = Counted(house, held=True, name="forking", first="while sleep 0.1; do echo still here; done &\necho $! > child")
        left_behind = forking.launch()
        forking.wait_for(left_behind, len(forking.expected) + 1)
        child = int((house.scripts / "child").read_text())

        with fault(server, line):
            _assert_refused_at_once(house)
            finishing.let_go()
            forking.let_go()
            eventually(lambda: not lives(trainer), within=GRACE + 2 + 3)
            eventually(lambda: not lives(child), within=LINGER_SECONDS + 5)

        running.assert_whole(run)
        finishing.assert_whole(finished, status="failed", code=7)
        assert ("succeeded", 0) == (forking.ended(left_behind)["status"], forking.show(left_behind)["exit_code"])
        assert "cancelled" == stubborn.ended(cancelled)["status"]
        assert {201} == {_launch(house).status_code for _ in range(2)}
        assert 1 == [each["name"] for each in house.ok("GET", "/projects/running/runs")].count("once")
        assert house.worker.process is not None
        assert house.worker.process.poll() is None


def test_a_commit_that_a_worker_could_not_hear_of_stores_no_line_twice(make_house: Callable[..., House], server: Server) -> None:
    with proxied(server.database()) as (line, url):
        house = make_house(url, **QUICK)
        toy = Counted(house, lines=1_500, rate=500, code=7)
        run = toy.launch()

        for lines in (200, 600):
            toy.wait_for(run, lines)
            line.drop_reply(to=b"COMMIT")
            eventually(lambda: line.wanted is None)
        lost = line.dropped

        toy.assert_whole(run, status="failed", code=7)
        assert 2 == lost


def test_an_end_whose_commit_a_worker_could_not_hear_of_is_one_end(make_house: Callable[..., House], server: Server) -> None:
    with proxied(server.database()) as (line, url):
        house = make_house(url, **QUICK)
        toy = Counted(house, code=7, held=True)
        run = toy.counting()

        line.drop_reply(to=b"COMMIT", after=b"run.failed")
        toy.let_go()
        eventually(lambda: line.dropped)

        for each in (toy.launch(), run):  # the first of them, by whoever did not hear of the other's end
            toy.assert_whole(each, status="failed", code=7)


def test_a_host_cut_off_from_the_database_is_shown_and_its_training_not_started_again(
    make_house: Callable[..., House], server: Server
) -> None:
    url = server.database()
    with proxied(url) as (line, its_url):
        house = make_house(url, **QUICK)
        house.worker.stop()
        away = Part("workers", house.environment | {"TRAINING_DB_URL": its_url}, house.folder / "away.log")
        away.start()
        try:
            toy = Counted(house, lines=2_000, rate=500)
            run = toy.launch()
            toy.wait_for(run, 200)

            line.blackhole()
            eventually(lambda: toy.conditions(run) == ["host_lost"])
            assert "running" == toy.show(run)["status"]
            dawdle(2 * LEASE)
            line.pass_on()

            toy.assert_whole(run)
            assert [] == toy.conditions(run)
        finally:
            away.kill()


def test_a_full_disk_of_the_database_leaves_no_half_rows_and_stops_no_kill(make_house: Callable[..., House], server: Server) -> None:
    with _small_disk() as disk:
        data = disk / "data"
        data.mkdir()
        shutil.chown(data, server.folder.owner(), server.folder.group())
        asyncio.run(told(server.url, f"CREATE TABLESPACE small LOCATION '{data}'"))
        house = make_house(server.database(tablespace="small"), **QUICK)
        toy = Counted(house, lines=3_000, rate=500)
        run = toy.launch()
        toy.wait_for(run, 200)
        stubborn = Counted(house, lines=100_000, rate=100, name="stubborn", first="trap '' TERM")  # it speaks all the while
        cancelled = stubborn.launch()
        stubborn.wait_for(cancelled, 10)
        trainer = stubborn.trainer(cancelled)
        stubborn.cancel(cancelled)

        _fill(disk / "ballast")
        eventually(lambda: not lives(trainer))
        answers = [house.client.post(f"/projects/{toy.name}/runs", json={"labels": {"long": os.urandom(8_000).hex()}}) for _ in range(20)]
        (disk / "ballast").unlink()

        assert {201, 503} >= {each.status_code for each in answers}
        assert 503 in {each.status_code for each in answers}
        accepted = [each.json()["name"] for each in answers if each.status_code == 201]
        assert sorted([run, *accepted]) == sorted(each["name"] for each in house.ok("GET", f"/projects/{toy.name}/runs?page_size=100"))
        toy.assert_whole(run)
        assert "cancelled" == stubborn.ended(cancelled)["status"]
        house.close()


def _assert_refused_at_once(house: House) -> None:
    began = time.monotonic()
    refused = _launch(house)
    assert time.monotonic() - began < 3
    assert (503, "2") == (refused.status_code, refused.headers["Retry-After"])


def _launch(house: House) -> httpx.Response:
    return house.client.post("/projects/running/runs", headers={"Idempotency-Key": "once"}, json={"name": "once"})


@contextmanager
def _small_disk() -> Iterator[Path]:
    with TemporaryDirectory(prefix="tuneyard-small-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("a small disk needs root")
        Path(folder).chmod(0o755)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
