"""The contract on commands in containers of their own, with a real engine, and what only those can show: containers that come and go."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from domain.processes.ports import CannotStart, Cause, Executor
from infra.executors import docker, rundir, tree
from infra.executors.docker import DockerExecutor
from infra.executors.engine import Engine
from infra.executors.own import Own
from tests.contracts.containers import TOYS, InContainer
from tests.contracts.executors import ExecutorContract, Place, ended, exit_of, fled, lives, said, until
from tests.docker import IMAGE, PROGRAMS, PYTHON, PrivateEngine
from tests.toys import count

pytestmark = pytest.mark.docker

NAME = "tuneyard-prc_1-1"
MOUNTS = [*PROGRAMS, f"{TOYS}:{TOYS}:ro"]


@pytest.fixture
def executor(docker_engine: PrivateEngine, tmp_path: Path) -> Iterator[DockerExecutor]:
    yield _executor(docker_engine, tmp_path)
    if left := containers(docker_engine, all_of_them=True):
        docker_engine.docker("rm", "--force", *left)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[InContainer]:
    place = InContainer(tmp_path, PYTHON, TOYS)
    yield place
    await asyncio.to_thread(tree.end, place.directory)


class TestDockerExecutorWithContainersOfItsOwn(ExecutorContract):
    """Every promise of the contract."""

    async def test_kill_finds_what_a_dead_command_left_behind(self, executor: Executor, place: Place) -> None:
        """Unless its container, which ends with the command, has taken it along."""
        await executor.start(place.directory, place.toy("flee"))
        pids = await fled(executor, place)
        await executor.signal(place.directory, signal.SIGKILL)
        await exit_of(executor, place)

        left = await executor.kill(place.directory)

        assert left == []
        assert not any(map(lives, pids))


async def test_a_container_ends_with_its_training_though_nobody_watches(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place
) -> None:
    await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
    before = containers(docker_engine)

    place.go.touch()

    async def none_runs() -> bool:
        return containers(docker_engine) == []

    await until(none_runs)
    assert [NAME] == before
    assert (await exit_of(executor, place)).code == 0


async def test_kill_removes_the_container(docker_engine: PrivateEngine, executor: DockerExecutor, place: Place) -> None:
    await executor.start(place.directory, place.toy("flee"))
    pids = await fled(executor, place)

    left = [await executor.kill(place.directory) for _ in range(2)]

    assert [[], []] == left
    assert not any(map(lives, pids))
    assert [] == containers(docker_engine, all_of_them=True)


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


async def test_what_the_end_of_another_worker_left_is_removed_with_a_later_attempt(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await executor.start(place.directory, place.toy("count"))
    await ended(executor, place)
    later = str(place.root / "later")
    await executor.start(later, msgspec.structs.replace(place.toy("count", "--until", str(place.go)), attempt=2))
    monkeypatch.setattr(docker, "STALE", "0s")

    async def one_runs() -> bool:
        return len(containers(docker_engine)) == 1  # the engine hears of an end a little later than we

    await until(one_runs)
    await executor.kill(later)

    assert [] == containers(docker_engine, all_of_them=True)


@pytest.mark.parametrize("far", ["made", "started", "ended"])
async def test_a_start_that_died_midway_is_taken_up_where_it_stands(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place, far: str
) -> None:
    spec = place.toy("count", "--lines", "2")
    own = Own(image=IMAGE, mounts=[*MOUNTS, f"{place.root}:{place.root}"])
    async with Engine(docker_engine.address) as engine:
        await engine.create(NAME, own.describe(spec, place.directory))
        if far != "made":
            await engine.start(NAME)
    if far == "ended":
        docker_engine.docker("kill", NAME)

    await executor.start(place.directory, spec)

    assert (await exit_of(executor, place)).code == 0
    assert count.lines(2) == await executor.read(place.directory, 0, 100)


async def test_an_engine_lost_in_the_middle_of_a_start_starts_once_or_never(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place
) -> None:
    starting = asyncio.create_task(executor.start(place.directory, place.toy("count", "--lines", "2")))

    async def placed() -> bool:
        return Path(place.directory, "container.json").exists()

    await until(placed)
    docker_engine.kill()
    [refusal] = await asyncio.gather(starting, return_exceptions=True)
    await asyncio.to_thread(docker_engine.start)

    if isinstance(refusal, CannotStart):
        assert refusal.passing
        assert not rundir.was_started(place.directory)
    else:
        assert (await exit_of(executor, place)).code == 0


@pytest.mark.parametrize(("word", "code"), [("stop", 143), ("kill", 137)])
async def test_the_engine_tells_what_became_of_the_container_also_after_its_removal(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place, word: str, code: int
) -> None:
    await executor.start(place.directory, place.spec("sleep", "1000"))

    docker_engine.docker(word, NAME)
    await ended(executor, place)
    before = await executor.cause(place.directory)
    await executor.kill(place.directory)

    assert [] == containers(docker_engine, all_of_them=True)
    cause = Cause(reason=f"the container {NAME} was stopped while it ran (exit code {code})")
    assert cause == before == await executor.cause(place.directory)


async def test_any_kill_for_want_of_memory_is_the_trainings_own(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place
) -> None:
    await executor.start(place.directory, place.toy("devour", "--by-child", "--until", str(place.go)))
    docker_engine.docker("update", "--memory", "64m", "--memory-swap", "64m", NAME)
    place.go.touch()

    end = await exit_of(executor, place)

    cause = await executor.cause(place.directory)
    assert end.code == 1
    assert cause
    assert cause.out_of_memory


async def test_a_refused_start_leaves_no_container(docker_engine: PrivateEngine, executor: DockerExecutor, place: Place) -> None:
    with pytest.raises(CannotStart, match="no such command"):
        await executor.start(place.directory, place.spec("no-such-trainer"))

    assert [] == containers(docker_engine, all_of_them=True)


@pytest.mark.parametrize(
    ("image", "refusal"),
    [
        (None, "there is no image to make containers from; set TUNEYARD_DOCKER_IMAGE, or TUNEYARD_DOCKER_MODE=exec"),
        ("no/such:one", "there is no image no/such:one here; get it with `docker pull no/such:one`, or set TUNEYARD_DOCKER_IMAGE"),
    ],
)
async def test_an_image_that_is_not_there_is_refused_with_the_way_to_it(
    docker_engine: PrivateEngine, place: Place, tmp_path: Path, image: str | None, refusal: str
) -> None:
    executor = DockerExecutor(docker_engine.address, "none", training_path=str(tmp_path), mode="run", image=image)

    with pytest.raises(CannotStart) as refused:
        await executor.start(place.directory, place.spec("true"))

    assert refusal == str(refused.value)
    assert not refused.value.passing


async def test_an_image_without_python_is_refused(docker_engine: PrivateEngine, place: Place) -> None:
    bare = DockerExecutor(docker_engine.address, "none", training_path=str(place.root), mode="run", image=IMAGE)

    with pytest.raises(CannotStart, match="has no python3 on its PATH"):
        await bare.start(place.directory, place.spec("true"))

    assert [] == containers(docker_engine, all_of_them=True)


async def test_gpus_are_asked_of_the_engine(docker_engine: PrivateEngine, executor: DockerExecutor, place: Place) -> None:
    """An engine on a machine without any has none to give."""
    with pytest.raises(CannotStart, match=r"could not select device driver .* \[\[gpu\]\].*; install the NVIDIA container toolkit"):
        await executor.start(place.directory, place.toy("show", env={"CUDA_VISIBLE_DEVICES": "GPU-8a5b"}))

    assert [] == containers(docker_engine, all_of_them=True)


async def test_a_container_has_the_users_rights_the_hosts_network_and_room_to_share(
    docker_engine: PrivateEngine, executor: DockerExecutor, place: Place, tmp_path: Path
) -> None:
    for each in (tmp_path, *tmp_path.parents):
        each.chmod(each.stat().st_mode | 0o011)
    unprivileged = DockerExecutor(
        docker_engine.address,
        "none",
        training_path=str(tmp_path),
        seen_at="/data",
        user="65534:65534",
        mode="run",
        image=IMAGE,
        mounts=MOUNTS,
    )
    script = "id -u; pwd; df --output=size /dev/shm | tail -1"

    await unprivileged.start(place.directory, msgspec.structs.replace(place.spec("sh", "-c", script), cwd="/data/work"))
    await exit_of(executor, place)

    user, cwd, shared_memory = (await said(executor, place)).decode().split()
    assert ("65534", "/data/work", 16 * 1024 * 1024) == (user, cwd, int(shared_memory))
    assert docker_engine.docker("inspect", "--format", "{{.HostConfig.NetworkMode}}", NAME) == "host"


def containers(engine: PrivateEngine, *, all_of_them: bool = False) -> list[str]:
    """Name those that were made for attempts: that run, or all."""
    words = ("--all",) if all_of_them else ()
    return engine.docker("ps", *words, "--format", "{{.Names}}", "--filter", "label=tuneyard.process").split()


def _executor(engine: PrivateEngine, training: Path) -> DockerExecutor:
    return DockerExecutor(engine.address, "none", training_path=str(training), mode="run", image=IMAGE, mounts=MOUNTS)
