"""The contract on plain processes of this host, and what only those can show: parents that die, terminals, full disks, damaged files."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from domain.processes.ports import CannotStart
from infra.executors import rundir, shim
from infra.executors.local import LocalExecutor
from tests.contracts.executors import ExecutorContract, Place, exit_of, said, until
from tests.toys import count

ROOT = Path(__file__).parents[2]
STARTER = """
import asyncio, sys, time
import msgspec
from domain.processes.ports import Spec
from infra.executors.local import LocalExecutor
asyncio.run(LocalExecutor().start(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Spec)))
print("started", flush=True)
time.sleep(60)
"""
"""A worker, as far as a training can tell."""
SMALL = 64 * 1024 * 1024
"""Bytes of memory: enough for Python, not for what devours."""
PLENTY = 20 * 1024 * 1024
"""Bytes of the small disk: enough to be allowed to start, quickly filled."""


@pytest.fixture
def executor() -> LocalExecutor:
    return LocalExecutor()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, sys.executable, Path(count.__file__).parent)
    yield place
    asyncio.run(LocalExecutor().kill(place.directory))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is soon full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", disk], check=False, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"a small disk needs root: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group whose memory is soon used up."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    group = root / f"tuneyard-test-{uuid4().hex}"
    try:
        group.mkdir()
        (group / limit).write_text(str(SMALL))
    except OSError as error:
        pytest.skip(f"a control group of one's own needs root: {error}")
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    give_up = time.monotonic() + 10
    while (group / "cgroup.procs").read_text():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    group.rmdir()


class TestLocalExecutor(ExecutorContract):
    """Every promise of the contract."""


async def test_secrets_of_ours_do_not_reach_the_command(executor: LocalExecutor, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNEYARD_TOKEN", "TUNEYARD_TOKEN_SALT", "TRAINING_DB_URL", "REDIS_URL"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda")

    await executor.start(place.directory, place.toy("show", env={"WANDB_API_KEY": "theirs"}))
    await exit_of(executor, place)

    seen = await said(executor, place)
    assert b"hunter2" not in seen
    assert b"/opt/cuda" in seen
    assert b"theirs" in seen


async def test_what_ran_out_of_memory_says_so(executor: LocalExecutor, place: Place, small_memory: Path) -> None:
    spec = msgspec.json.encode(place.toy("devour")).decode()
    inside = f'echo $$ > {small_memory}/cgroup.procs; exec "$@"'

    worker = subprocess.Popen(
        ["sh", "-c", inside, "sh", sys.executable, "-c", STARTER, place.directory, spec],
        cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert worker.stdout
    assert worker.stdout.readline() == b"started\n"
    end = await exit_of(executor, place)
    worker.kill()
    worker.communicate()

    cause = await executor.cause(place.directory)
    assert end.signal == signal.SIGKILL
    assert cause
    assert cause.out_of_memory
    assert "rose from 0 to 1" in cause.reason


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
async def test_the_end_of_a_worker_does_not_disturb_its_training(executor: LocalExecutor, place: Place, number: int) -> None:
    spec = place.toy("count", "--lines", "50", "--until", str(place.go), "--exit", "3")
    worker = subprocess.Popen(
        [sys.executable, "-c", STARTER, place.directory, msgspec.json.encode(spec).decode()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert worker.stdout
    assert worker.stdout.readline() == b"started\n"

    os.killpg(worker.pid, number)  # as the terminal does on Ctrl-C, and when it is closed
    worker.communicate()

    assert (await executor.look(place.directory)).alive
    place.go.touch()
    assert (await exit_of(executor, place)).code == 3
    assert count.lines(50) == await executor.read(place.directory, 0, 10_000)


async def test_a_disk_filled_by_the_command_still_takes_its_exit(executor: LocalExecutor, place: Place, small_disk: Path) -> None:
    place.directory = str(small_disk / "run")

    await executor.start(place.directory, place.toy("fill"))
    end = await exit_of(executor, place)

    assert os.statvfs(small_disk).f_bavail == 0
    assert end.code == 28


async def test_nothing_is_started_on_a_disk_that_is_nearly_full(executor: LocalExecutor, place: Place, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(PLENTY // 2))

    with pytest.raises(CannotStart, match=r"the disk of .* is full: 9 MiB are free, 16 MiB are needed"):
        await executor.start(str(small_disk / "run"), place.toy("count"))

    assert not (await executor.look(str(small_disk / "run"))).started


async def test_a_launch_on_a_full_disk_claims_nothing(place: Place, small_disk: Path) -> None:
    directory = str(small_disk / "run")
    rundir.prepare(directory, place.toy("count"))
    with (small_disk / "ballast").open("wb") as ballast:
        subprocess.run([sys.executable, place.toys / "fill.py"], check=False, stdout=ballast)

    code, reason = await _launch(directory)

    assert code == 1
    assert f"the run directory {directory} cannot be used: No space left on device" == reason
    assert not rundir.look(directory).started


async def test_a_launch_outwaits_another_that_holds_the_lock_and_died_before_its_claim(executor: LocalExecutor, place: Place) -> None:
    rundir.prepare(place.directory, place.toy("count"))
    path = Path(place.directory, "lock")
    holder = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    launcher = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", shim.__file__, place.directory)

    async def waits() -> bool:
        return any(file.exists() and file.samefile(path) for file in Path(f"/proc/{launcher.pid}/fd").iterdir())

    await until(waits)
    os.close(holder)

    assert await launcher.wait() == 0
    assert (await exit_of(executor, place)).code == 0


async def test_a_launch_knows_that_another_was_first(executor: LocalExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("count", "--until", str(place.go)))

    running = await _launch(place.directory)
    place.go.touch()
    await exit_of(executor, place)
    ended = await _launch(place.directory)

    assert running == ended == (shim.ALREADY_STARTED, "")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"attempt": 1}', b'{"attempt":1,"argv":["a"],"env":[],"cwd":"/","process_id":"p"}']
)
async def test_a_damaged_spec_is_refused_in_words(place: Place, content: bytes) -> None:
    Path(place.directory).mkdir()
    Path(place.directory, "spec.json").write_bytes(content)

    code, reason = await _launch(place.directory)

    assert code == 1
    assert "spec.json is damaged" in reason
    assert not rundir.look(place.directory).started


async def test_half_written_files_are_as_if_they_were_not_there_yet(executor: LocalExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("count", "--exit", "5"))
    await exit_of(executor, place)
    for name in ("started", "state.json", "exit.json"):
        path = Path(place.directory, name)
        path.write_bytes(path.read_bytes()[:-5])

    sight = await executor.look(place.directory)

    assert sight.started
    assert not sight.alive
    assert (sight.attempt, sight.pid, sight.exit) == (None, None, None)


async def test_the_exit_of_another_attempt_is_not_believed(executor: LocalExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("count"))
    await exit_of(executor, place)
    Path(place.directory, "exit.json").write_text('{"attempt": 2, "code": 0, "ended_at": 1.0}')

    assert (await executor.look(place.directory)).exit is None


async def test_the_shim_is_no_child_of_ours_and_leads_its_own_session(executor: LocalExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("count", "--until", str(place.go)))

    state = rundir.state(place.directory)

    assert state
    assert os.getsid(state.shim_pid) == state.shim_pid
    assert Path(f"/proc/{state.shim_pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid())
    place.go.touch()


@pytest.mark.parametrize("version", ["3.6", "3.8", "3.12"])
async def test_the_shim_runs_under_old_and_new_pythons(executor: LocalExecutor, place: Place, version: str) -> None:
    python = _python(version)
    rundir.prepare(place.directory, place.toy("count", "--lines", "2", "--exit", "4"))

    launch = await _launch(place.directory, python, env={"LC_ALL": "C"})

    assert launch == (0, "")
    assert (await exit_of(executor, place)).code == 4
    assert count.lines(2) == await executor.read(place.directory, 0, 1000)


async def _launch(directory: str, python: str = sys.executable, env: dict[str, str] | None = None) -> tuple[int | None, str]:
    launcher = await asyncio.create_subprocess_exec(python, "-I", "-S", shim.__file__, directory, stderr=subprocess.PIPE, env=env)
    _, reason = await launcher.communicate()
    return launcher.returncode, reason.decode()


def _python(version: str) -> str:
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    python = str(installed[-1]) if installed else shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip(f"there is no Python {version} here")
    return python
