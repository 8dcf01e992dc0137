"""`tuneyard up` and `tuneyard demo` as a person starts them: real processes, nothing prepared, nothing left behind."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import count as count_up
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.house import PATIENCE, REPOSITORY, end_trainings, eventually, inherited
from tests.toys import count
from tuneyard.client import Client
from tuneyard.connection import ApiError, Unreachable

LINES = 40
TRAINER = f'exec "$PYTHON" -S {REPOSITORY}/tests/toys/count.py --lines {LINES} --until "$(dirname "$0")/go"\n'
"""Prints numbered lines, then lives on until it is let go."""

TOKEN = "a long random text"


class Up:
    """A `tuneyard up` in a folder of its own, on a port of its own."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._said = next(path for number in count_up() if not (path := folder.with_suffix(f".said-{number}")).exists())
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                tuneyard("up", "--port", "0", "--data", str(folder), *arguments), stdout=said, stderr=said, env=environment(**settings)
            )

    @property
    def said(self) -> str:
        """All it has printed."""
        return self._said.read_text()

    @cached_property
    def client(self) -> Client:
        """A client of it, once it is up."""

        def url() -> str | None:
            assert self.process.poll() is None, self.said
            found = re.search(r"Tuneyard +(http://127\.0\.0\.1:\d+)", self.said)
            return found[1] if found else None

        return Client(eventually(url))

    def close(self) -> None:
        """End it and its trainings."""
        if "client" in self.__dict__:
            self.client.close()
        if self.process.poll() is None:
            self.end()
        end_trainings(self.folder / "training")

    def part(self, module: str) -> psutil.Process:
        """Its API, its workers or its redis-server."""

        def found() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if module in child.cmdline() or module == Path(child.exe()).name:
                        return child
            return None

        return eventually(found)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, as Ctrl-C does, and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start Tuneyards in folders of this test, and end them all, trainings included."""
    ups: list[Up] = []

    def begin(name: str, *arguments: str, **settings: str) -> Up:
        training = tmp_path / name / "training"
        training.mkdir(parents=True, exist_ok=True)
        (training / "run_train_full_sft.sh").write_text(TRAINER)
        ups.append(Up(tmp_path / name, *arguments, **settings))
        return ups[-1]

    yield begin
    for up in ups:
        up.close()


def test_ctrl_c_leaves_the_training_alone_and_the_next_up_adopts_it(start: Callable[..., Up]) -> None:
    first = start("one")
    run = launched(first.client)
    eventually(lambda: first.client.log_page("p", run)["total"] > LINES)

    code = first.end()
    (first.folder / "training" / "go").touch()
    second = start("one")

    ended = eventually(lambda: over(second.client, run))
    assert (0, "succeeded", 0) == (code, ended["status"], ended["exit_code"])
    assert "1 training goes on by itself" in first.said
    assert count.lines(LINES).decode().splitlines() == counted(second.client, run)


def test_a_killed_up_takes_its_parts_along_but_no_training(start: Callable[..., Up]) -> None:
    up = start("one")
    run = launched(up.client)
    eventually(lambda: up.client.log_page("p", run)["total"] > LINES)
    parts = [up.part(name) for name in ("api", "workers", "redis-server")]

    up.end(signal.SIGKILL)

    eventually(lambda: not any(part.is_running() for part in parts))
    (up.folder / "training" / "go").touch()
    again = start("one")
    assert eventually(lambda: over(again.client, run))["status"] == "succeeded"


def test_parts_that_die_are_started_again_and_a_follower_misses_no_line(start: Callable[..., Up]) -> None:
    up = start("one")
    run = launched(up.client)
    following = up.client.follow("p", run)
    heard = [next(following)["message"] for _ in range(5)]

    for deaths, module in enumerate(("redis-server", "workers", "api"), start=1):
        up.part(module).kill()
        eventually(lambda deaths=deaths: deaths == up.said.count("is started again"))  # type: ignore[misc]
    (up.folder / "training" / "go").touch()

    heard += [line["message"] for line in following]
    assert count.lines(LINES).decode().splitlines() == [line for line in heard if line.startswith("L ")]
    assert "succeeded" == up.client.run("p", run)["status"]


def test_two_ups_live_side_by_side_but_not_in_one_folder(start: Callable[..., Up]) -> None:
    one, two = start("one"), start("a folder whose path is much too long for the socket of a Redis, 中文也在其中, and has blanks")
    runs = [launched(up.client) for up in (one, two)]
    third = start("one")

    for up, run in zip((one, two), runs, strict=True):
        (up.folder / "training" / "go").touch()
        assert eventually(lambda up=up, run=run: over(up.client, run))["status"] == "succeeded"  # type: ignore[misc]
        assert "ok" == up.client.health()["queue"]
    assert 2 == third.process.wait(PATIENCE)
    assert "already runs" in third.said


def test_without_a_token_it_refuses_to_listen_beyond_loopback(tmp_path: Path) -> None:
    done = run_tuneyard("up", "--host", "::", "--data", str(tmp_path))

    assert 2 == done.returncode
    assert "export TUNEYARD_TOKEN=" in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_tuneyard("up", "--port", port, "--data", str(tmp_path))

    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines())
    assert f"port {port}" in done.stderr


def test_a_database_that_cannot_be_used_is_one_readable_line(tmp_path: Path) -> None:
    done = run_tuneyard("up", "--port", "0", "--data", str(tmp_path), TRAINING_DB_URL="mysql://someone:secret@db/x")

    assert 2 == done.returncode
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert "postgresql://" in done.stderr


def test_with_a_token_everybody_needs_it(start: Callable[..., Up]) -> None:
    stranger = start("one", TUNEYARD_TOKEN=TOKEN).client

    with pytest.raises(ApiError, match="TUNEYARD_TOKEN"):
        stranger.projects()

    with Client(stranger.url, TOKEN) as known:
        assert known.projects() == []


@pytest.mark.parametrize("database", ["sqlite_url", "postgresql"])
def test_the_demo_trains_for_real_and_leaves_nothing_running(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(database)
    settings = {} if url.startswith("sqlite") else {"TRAINING_DB_URL": url}

    done = run_tuneyard("demo", TMPDIR=str(tmp_path), LANG="C.UTF-8", **settings)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "the loss fell from" in done.stdout
    assert [] == list(tmp_path.glob("tuneyard-demo-*"))
    with Client(re.findall(r"http://127\.0\.0\.1:\d+", done.stdout)[0]) as client, pytest.raises(Unreachable):
        client.health()


def tuneyard(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-P", "-m", "tuneyard", *arguments]


def environment(**settings: str) -> dict[str, str]:
    """An environment without settings of whoever runs the tests."""
    return inherited() | {"PYTHONPATH": str(REPOSITORY)} | settings


def run_tuneyard(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(tuneyard(*arguments), capture_output=True, text=True, env=environment(**settings), timeout=50, check=False)


def launched(client: Client) -> str:
    """Launch a run of a new project `p`; its name."""
    client.create_dataset("d", task_type="sft")
    sample = REPOSITORY / "examples" / "data" / "sample.jsonl"
    client.push_file("d", sample)
    client.create_project("p", dataset_name="datasets/d/sample.jsonl")
    return client.launch("p")["name"]


def over(client: Client, run: str) -> dict[str, Any] | None:
    """The run, if it is over."""
    found: dict[str, Any] = {**client.run("p", run)}
    return found if found["status"] in {"succeeded", "failed", "cancelled"} else None


def counted(client: Client, run: str) -> list[str]:
    """The numbered lines of its log."""
    return [line["message"] for line in client.log_page("p", run, page_size=500)["items"] if line["message"].startswith("L ")]
