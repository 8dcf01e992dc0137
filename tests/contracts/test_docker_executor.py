"""The contract on commands inside a container, with a real engine, and what only those can show: engines and containers that die."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from domain.processes.ports import CannotStart, Cause, Spec
from infra.executors import rundir, tree
from infra.executors.docker import DockerExecutor
from tests.contracts.containers import TOYS, InContainer
from tests.contracts.executors import ExecutorContract, Place, ended, exit_of, fled, lives, said, until
from tests.docker import PYTHON, PrivateEngine
from tests.toys import count

pytestmark = pytest.mark.docker

NOBODY = 65534
SMALL = ("--memory", "64m", "--memory-swap", "64m")
PLENTY = 20 * 1024 * 1024
"""Bytes of the small disk: enough to be allowed to start, were it not half full already."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The mounts of a training container: where tests keep their files, and the toys."""
    tests = tmp_path_factory.getbasetemp()
    return (f"{tests}:{tests}", f"{TOYS}:{TOYS}:ro")


@pytest.fixture(scope="session")
def trainer(docker_engine: PrivateEngine, shared: tuple[str, ...]) -> str:
    return docker_engine.container("trainer", mounts=shared)


@pytest.fixture
def doomed(docker_engine: PrivateEngine, shared: tuple[str, ...]) -> Iterator[str]:
    """A container that a test may end."""
    yield docker_engine.container("doomed", mounts=shared)
    docker_engine.docker("rm", "-f", "doomed")


@pytest.fixture
def executor(docker_engine: PrivateEngine, trainer: str, tmp_path: Path) -> DockerExecutor:
    return DockerExecutor(docker_engine.address, trainer, training_path=str(tmp_path))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[InContainer]:
    place = InContainer(tmp_path, PYTHON, TOYS)
    yield place
    await asyncio.to_thread(tree.end, place.directory)


class TestDockerExecutor(ExecutorContract):
    """Every promise of the contract."""


async def test_the_environment_of_a_command_is_in_no_argument(executor: DockerExecutor, place: InContainer) -> None:
    await executor.start(place.directory, place.toy("count", "--until", str(place.go), env={"WANDB_API_KEY": "hunter2"}))

    spoken = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in place.pids())
    place.go.touch()

    assert b"count.py" in spoken
    assert b"hunter2" not in spoken


async def test_a_killed_engine_does_not_disturb_a_training(docker_engine: PrivateEngine, executor: DockerExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("count", "--lines", "100", "--until", str(place.go), "--exit", "3"))
    await said(executor, place)

    docker_engine.kill()
    alive = (await executor.look(place.directory)).alive
    place.go.touch()
    end = await exit_of(executor, place)
    docker_engine.start()

    assert alive
    assert end.code == 3
    assert count.lines(100) == await executor.read(place.directory, 0, 10_000)


async def test_signals_and_kills_need_no_engine(docker_engine: PrivateEngine, executor: DockerExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("flee"))
    pids = await fled(executor, place)

    docker_engine.kill()
    sent = await executor.signal(place.directory, signal.SIGTERM)
    left = await executor.kill(place.directory)
    docker_engine.start()

    assert sent
    assert left == []
    assert not any(map(lives, pids))


async def test_a_stopped_container_leaves_a_death_without_an_exit(
    docker_engine: PrivateEngine, doomed: str, place: Place, tmp_path: Path
) -> None:
    executor = DockerExecutor(docker_engine.address, doomed, training_path=str(tmp_path))
    await executor.start(place.directory, place.spec("sleep", "1000"))

    docker_engine.docker("stop", "-t", "0", doomed)
    stopped = await ended(executor, place)
    docker_engine.docker("start", doomed)
    restarted = await executor.look(place.directory)

    assert stopped.exit is None
    assert stopped == restarted
    assert Cause(reason=f"the container {doomed} was restarted while it ran") == await executor.cause(place.directory)
    assert not await executor.signal(place.directory, signal.SIGTERM)
    assert await executor.kill(place.directory) == []


@pytest.mark.parametrize(
    ("words", "became"),
    [
        (("stop",), "was stopped while it ran (exit code 143)"),
        (("kill",), "was stopped while it ran (exit code 137)"),
        (("rm", "-f"), "was removed while it ran"),
    ],
)
async def test_the_engine_tells_what_became_of_a_container_under_a_training(
    docker_engine: PrivateEngine, doomed: str, place: Place, tmp_path: Path, words: tuple[str, ...], became: str
) -> None:
    executor = DockerExecutor(docker_engine.address, doomed, training_path=str(tmp_path))
    await executor.start(place.directory, place.spec("sleep", "1000"))

    docker_engine.docker(*words, doomed)
    await ended(executor, place)

    assert Cause(reason=f"the container {doomed} {became}") == await executor.cause(place.directory)


@pytest.mark.parametrize("words", [(), ("--by-child", "--tell")])
async def test_a_container_out_of_memory_is_told_by_the_counter_of_its_control_group(
    docker_engine: PrivateEngine, doomed: str, place: Place, tmp_path: Path, words: tuple[str, ...]
) -> None:
    docker_engine.docker("update", *SMALL, doomed)
    executor = DockerExecutor(docker_engine.address, doomed, training_path=str(tmp_path))

    await executor.start(place.directory, place.toy("devour", *words))
    await ended(executor, place)

    cause = await executor.cause(place.directory)
    assert cause
    assert cause.out_of_memory
    assert "the kernel killed a process of the training (the oom_kill counter of its control group rose from 0 to 1)" in cause.reason


async def test_a_neighbour_out_of_memory_is_not_blamed_for_an_exit(
    docker_engine: PrivateEngine, doomed: str, place: Place, tmp_path: Path
) -> None:
    docker_engine.docker("update", *SMALL, doomed)
    executor = DockerExecutor(docker_engine.address, doomed, training_path=str(tmp_path))
    await executor.start(place.directory, place.toy("count", "--until", str(place.go), "--exit", "1"))
    neighbour = str(tmp_path / "neighbour")
    await executor.start(neighbour, place.toy("devour"))

    async def devoured() -> bool:
        return not (await executor.look(neighbour)).alive

    await until(devoured)
    place.go.touch()
    await ended(executor, place)

    assert await executor.cause(neighbour)
    assert await executor.cause(place.directory) is None


async def test_a_relative_working_directory_lies_below_the_containers_own(
    docker_engine: PrivateEngine, shared: tuple[str, ...], place: Place, tmp_path: Path
) -> None:
    work = place.cwd / "KTIP_Release_2.1.0" / "train" / "llm"
    work.mkdir(parents=True)
    (work / "run_train_full_sft.sh").write_text('pwd\necho "$1"\n')
    docker_engine.container("relative", "-w", str(place.cwd), mounts=shared)
    executor = DockerExecutor(docker_engine.address, "relative", training_path=str(tmp_path))
    spec = place.spec("bash", "run_train_full_sft.sh", "$(id)")

    await executor.start(place.directory, _in(spec, "KTIP_Release_2.1.0/train/llm"))
    await exit_of(executor, place)

    assert f"{work}\n$(id)\n".encode() == await said(executor, place)


async def test_the_training_directory_may_be_mounted_elsewhere(
    docker_engine: PrivateEngine, shared: tuple[str, ...], place: Place, tmp_path: Path
) -> None:
    docker_engine.container("elsewhere", mounts=(*shared, f"{tmp_path}:/data"))
    executor = DockerExecutor(docker_engine.address, "elsewhere", training_path=str(tmp_path), seen_at="/data")

    await executor.start(place.directory, _in(place.toy("show"), "/data/work"))
    await exit_of(executor, place)

    seen = json.loads(await said(executor, place))
    assert ("/data/work", "/data/run") == (seen["cwd"], seen["env"]["TUNEYARD_RUN_DIRECTORY"])


async def test_a_training_may_run_as_another_user(docker_engine: PrivateEngine, trainer: str, place: Place, tmp_path: Path) -> None:
    output = place.cwd / "output"
    output.mkdir()
    _open(tmp_path)
    executor = DockerExecutor(docker_engine.address, trainer, training_path=str(tmp_path), user=f"{NOBODY}:{NOBODY}")
    spec = place.spec("sh", "-c", 'touch "$TUNEYARD_OUTPUT_DIR/made"; id -u; sleep 1000', env={"TUNEYARD_OUTPUT_DIR": str(output)})

    await executor.start(place.directory, spec)
    who = await said(executor, place, 6)
    sent = await executor.signal(place.directory, signal.SIGTERM)

    assert who == b"%d\n" % NOBODY
    assert sent
    assert (await exit_of(executor, place)).signal == signal.SIGTERM
    assert (output / "made").stat().st_uid == Path(place.directory, "exit.json").stat().st_uid == NOBODY


async def test_what_this_host_does_not_show_is_signalled_and_killed_from_inside(
    executor: DockerExecutor, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await executor.start(place.directory, place.toy("flee"))
    pids = await fled(executor, place)
    # As in a worker that runs in a container of its own.
    monkeypatch.setattr(tree, "is_shown", lambda _: False)

    sent = await executor.signal(place.directory, signal.SIGTERM)
    left = await executor.kill(place.directory)

    assert sent
    assert left == []
    assert not any(map(lives, pids))
    assert not await executor.signal(place.directory, signal.SIGTERM)


async def test_an_engine_lost_in_the_middle_of_a_start_starts_once_or_never(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place
) -> None:
    starting = asyncio.create_task(executor.start(place.directory, place.toy("count", "--lines", "2")))

    async def placed() -> bool:
        return Path(place.directory, "shim.py").exists()

    await until(placed)
    docker_engine.kill()
    [refusal] = await asyncio.gather(starting, return_exceptions=True)
    await asyncio.to_thread(docker_engine.start)

    if isinstance(refusal, CannotStart):
        assert refusal.passing
        assert Path(place.directory, "stop").exists()
        assert not rundir.was_started(place.directory)
    else:
        assert (await exit_of(executor, place)).code == 0


async def test_an_engine_that_is_not_there_is_refused_with_the_way_around_it(trainer: str, place: Place, tmp_path: Path) -> None:
    executor = DockerExecutor(f"unix://{tmp_path}/none.sock", trainer, training_path=str(tmp_path))

    refusal = r"engine at unix://.*/none.sock cannot be reached \(.*\); start it.* TUNEYARD_EXECUTOR=local"
    with pytest.raises(CannotStart, match=refusal) as refused:
        await executor.start(place.directory, place.spec("true"))

    assert not refused.value.passing
    assert not (await executor.look(place.directory)).started


async def test_an_engine_that_is_being_restarted_is_an_obstacle_that_passes(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place
) -> None:
    docker_engine.kill()

    with pytest.raises(CannotStart, match="cannot be reached") as refused:
        await executor.start(place.directory, place.spec("true"))

    docker_engine.start()
    assert refused.value.passing


async def test_an_engine_elsewhere_is_refused(trainer: str, place: Place, tmp_path: Path) -> None:
    executor = DockerExecutor("tcp://127.0.0.1:2375", trainer, training_path=str(tmp_path))

    with pytest.raises(CannotStart, match="DOCKER_HOST is tcp://127.0.0.1:2375, but the engine must be this machine's own"):
        await executor.start(place.directory, place.spec("true"))


async def test_a_container_that_is_not_there_is_refused_with_those_that_are(
    docker_engine: PrivateEngine, trainer: str, place: Place, tmp_path: Path
) -> None:
    executor = DockerExecutor(docker_engine.address, "no-such-one", training_path=str(tmp_path))

    with pytest.raises(CannotStart, match=rf"no container no-such-one; set DOCKER_CONTAINER_NAME \(running: .*{trainer}"):
        await executor.start(place.directory, place.spec("true"))


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("stop", "-t", "0"), r"is not running \(exited\); start it with `docker start"),
        (("pause",), "is paused; wake it with `docker unpause"),
    ],
)
async def test_a_container_that_cannot_run_anything_is_refused(
    docker_engine: PrivateEngine, doomed: str, place: Place, tmp_path: Path, words: tuple[str, ...], refusal: str
) -> None:
    docker_engine.docker(*words, doomed)

    with pytest.raises(CannotStart, match=f"the container {doomed} {refusal}"):
        await DockerExecutor(docker_engine.address, doomed, training_path=str(tmp_path)).start(place.directory, place.spec("true"))


async def test_a_container_without_the_training_directory_is_refused_with_the_mount_it_lacks(
    docker_engine: PrivateEngine, place: Place, tmp_path: Path
) -> None:
    docker_engine.container("blind")

    with pytest.raises(CannotStart, match=f"does not see the training directory; start it with `-v {tmp_path}:{tmp_path}`, or set"):
        await DockerExecutor(docker_engine.address, "blind", training_path=str(tmp_path)).start(place.directory, place.spec("true"))


async def test_a_container_without_python_is_refused(
    docker_engine: PrivateEngine, shared: tuple[str, ...], place: Place, tmp_path: Path
) -> None:
    docker_engine.container("bare", "-e", "PATH=/usr/sbin", mounts=shared)

    with pytest.raises(CannotStart, match="the container bare has no python3 on its PATH"):
        await DockerExecutor(docker_engine.address, "bare", training_path=str(tmp_path)).start(place.directory, place.spec("true"))


async def test_nothing_is_started_on_a_disk_that_is_nearly_full(executor: DockerExecutor, place: Place, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", disk], check=True)
    try:
        (disk / "ballast").write_bytes(bytes(PLENTY // 2))

        with pytest.raises(CannotStart, match=r"the disk of .* is full: 9 MiB are free, 16 MiB are needed"):
            await executor.start(str(disk / "run"), place.spec("true"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _in(spec: Spec, cwd: str) -> Spec:
    return msgspec.structs.replace(spec, cwd=cwd)


def _open(path: Path) -> None:
    """Let everybody pass, down to there."""
    for each in (path, *path.parents):
        each.chmod(each.stat().st_mode | 0o011)
