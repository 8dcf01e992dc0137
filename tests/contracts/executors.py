"""What every executor promises, whichever way it places the shim. Test names are the promises.

A suite for one executor subclasses `ExecutorContract` and gives it two fixtures: `executor` and `place`.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from domain.processes.ports import CannotStart, Cause, Executor, Exit, Sight, Spec
from infra.executors import rundir
from tests.toys import count

T = TypeVar("T")


class Place:
    """Where the tests of one executor happen: the folders as this side sees them, and the words that start a toy on the other side."""

    def __init__(self, root: Path, python: str, toys: Path) -> None:
        self.root = root
        self.python = python
        self.toys = toys
        self.directory = str(root / "run")
        self.cwd = root / "work"
        self.cwd.mkdir()
        self.go = self.cwd / "go"

    def pid_here(self, pid: int) -> int:
        """The pid on this host of what the other side knows by its own."""
        return pid

    def toy(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> Spec:
        """An attempt to run that toy."""
        return self.spec(self.python, "-S", str(self.toys / f"{name}.py"), *arguments, env=env)

    def spec(self, *argv: str, env: dict[str, str] | None = None) -> Spec:
        """An attempt to run those words."""
        return Spec(process_id="prc_1", attempt=1, argv=list(argv), env=env or {}, cwd=str(self.cwd))


async def until(ask: Callable[[], Awaitable[T]], limit: float = 10.0) -> T:
    """The first true answer."""
    give_up = time.monotonic() + limit
    while not (answer := await ask()):
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.005)
    return answer


async def ended(executor: Executor, place: Place) -> Sight:
    """The sight of an attempt that is over, its lock free."""

    async def over() -> Sight | None:
        sight = await executor.look(place.directory)
        return sight if sight.started and not sight.alive else None

    sight = await until(over)
    assert sight is not None
    return sight


async def exit_of(executor: Executor, place: Place) -> Exit:
    """How the attempt ended."""
    sight = await ended(executor, place)
    assert sight.exit is not None
    return sight.exit


async def said(executor: Executor, place: Place, size: int = 1) -> bytes:
    """What the command has written, as soon as it is that much."""

    async def enough() -> bytes | None:
        output = await executor.read(place.directory, 0, 1 << 20)
        return output if len(output) >= size else None

    return await until(enough) or b""


async def fled(executor: Executor, place: Place) -> list[int]:
    """The pids of the fleeing toy and of its child, which are this host's, once both have written theirs."""

    async def both() -> list[int]:
        pids = (await executor.read(place.directory, 0, 100)).splitlines(keepends=True)
        return [int(pid) for pid in pids] if len(pids) == 2 and pids[1].endswith(b"\n") else []

    return [place.pid_here(pid) for pid in await until(both)]


def lives(pid: int) -> bool:
    """Whether there is such a process that is not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Come back when that process is."""

    async def dead() -> bool:
        return not lives(pid)

    await until(dead)


def _amend(place: Place, **fields: object) -> None:
    """Make the attempt's record say something else."""
    path = Path(place.directory, "state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


class ExecutorContract:
    """The promises."""

    async def test_before_any_start_there_is_nothing_to_see(self, executor: Executor, place: Place) -> None:
        assert Sight() == await executor.look(place.directory)
        assert await executor.read(place.directory, 0, 100) == b""
        assert not await executor.signal(place.directory, signal.SIGTERM)
        assert await executor.kill(place.directory) == []

    async def test_a_running_command_is_seen_with_its_identity(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))

        sight = await executor.look(place.directory)

        assert sight.started
        assert sight.alive
        assert sight.exit is None
        assert sight.attempt == 1
        assert sight.pid
        assert sight.start_ticks
        assert sight.boot_id
        assert sight.started_at == pytest.approx(time.time(), abs=10)
        place.go.touch()

    async def test_every_byte_of_the_output_arrives_as_it_was_written(self, executor: Executor, place: Place) -> None:
        expected = count.lines(1_000) + count.MESS

        await executor.start(place.directory, place.toy("count", "--lines", "1000", "--mess"))
        sight = await ended(executor, place)

        assert len(expected) == sight.log_size
        assert expected == await executor.read(place.directory, 0, 1 << 20)
        assert expected[100:150] == await executor.read(place.directory, 100, 50)
        assert await executor.read(place.directory, sight.log_size, 50) == b""

    async def test_lone_carriage_returns_arrive_as_they_are(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--lines", "1", "--returns"))
        await ended(executor, place)

        assert b"step 0: 50%\rstep 0: 100%\r" + count.line(0) == await executor.read(place.directory, 0, 1000)

    @pytest.mark.parametrize("code", [0, 1, 75, 137, 255])
    async def test_the_exit_code_is_true(self, executor: Executor, place: Place, code: int) -> None:
        await executor.start(place.directory, place.toy("count", "--exit", str(code)))
        end = await exit_of(executor, place)

        assert (code, None, None, 1) == (end.code, end.signal, end.error, end.attempt)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    async def test_a_signal_reaches_the_command_and_is_recorded(self, executor: Executor, place: Place, number: int) -> None:
        await executor.start(place.directory, place.spec("sleep", "100"))

        sent = await executor.signal(place.directory, number)

        end = await exit_of(executor, place)
        assert sent
        assert (None, number, None) == (end.code, end.signal, end.error)
        assert not await executor.signal(place.directory, number)

    async def test_a_signal_is_kept_from_another_process_with_the_same_pid(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
        _amend(place, start_ticks=1)

        sent = await executor.signal(place.directory, signal.SIGKILL)

        place.go.touch()
        assert not sent
        assert (await exit_of(executor, place)).code == 0

    async def test_twenty_racing_starts_under_constant_looking_run_once(self, executor: Executor, place: Place) -> None:
        spec = place.toy("count", "--lines", "3")
        looking = True

        async def look() -> int:
            looks = 0
            while looking:
                await asyncio.to_thread(rundir.look, place.directory)
                looks += 1
            return looks

        prober = asyncio.create_task(look())
        await asyncio.gather(*(executor.start(place.directory, spec) for _ in range(20)))
        end = await exit_of(executor, place)
        looking = False

        assert await prober > 0
        assert end.code == 0
        assert count.lines(3) == await executor.read(place.directory, 0, 1000)

    async def test_a_second_start_after_the_end_does_nothing(self, executor: Executor, place: Place) -> None:
        spec = place.toy("count", "--lines", "3")
        await executor.start(place.directory, spec)
        first = await ended(executor, place)

        await executor.start(place.directory, spec)

        assert first == await executor.look(place.directory)

    async def test_another_attempt_cannot_start_in_the_same_directory(self, executor: Executor, place: Place) -> None:
        spec = place.toy("count")
        rundir.prepare(place.directory, spec)

        with pytest.raises(CannotStart, match="belongs to attempt 1 of prc_1"):
            await executor.start(place.directory, Spec(process_id="prc_1", attempt=2, argv=spec.argv, env={}, cwd=spec.cwd))

        assert not (await executor.look(place.directory)).started

    async def test_what_was_asked_to_stop_before_it_began_never_begins(self, executor: Executor, place: Place) -> None:
        rundir.prepare(place.directory, place.toy("count"))
        await executor.ask_to_stop(place.directory)

        with pytest.raises(CannotStart, match="asked to stop"):
            await executor.start(place.directory, place.toy("count"))

        assert not (await executor.look(place.directory)).started

    async def test_a_killed_shim_leaves_the_training_running_and_costs_only_the_exit_code(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--lines", "5", "--until", str(place.go)))
        await said(executor, place)
        state = rundir.state(place.directory)
        assert state

        shim = place.pid_here(state.shim_pid)
        os.kill(shim, signal.SIGKILL)
        await gone(shim)
        sight = await executor.look(place.directory)
        place.go.touch()
        last = await ended(executor, place)

        assert sight.alive
        assert last.exit is None
        assert count.lines(5) == await executor.read(place.directory, 0, 1000)

    async def test_only_sigkill_ends_a_shim_before_its_command(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go), "--exit", "9"))
        state = rundir.state(place.directory)
        assert state

        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            os.kill(place.pid_here(state.shim_pid), number)
        place.go.touch()

        assert (await exit_of(executor, place)).code == 9

    async def test_whether_the_shim_lives_is_seen(self, executor: Executor, place: Place) -> None:
        before = await executor.shim_lives(place.directory)
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
        state = rundir.state(place.directory)
        assert state

        running = [await executor.shim_lives(place.directory) for _ in range(2)]
        os.kill(place.pid_here(state.shim_pid), signal.SIGKILL)

        async def lost() -> bool:
            return await executor.shim_lives(place.directory) is False

        await until(lost)
        assert (await executor.look(place.directory)).alive
        assert (None, [True, True]) == (before, running)
        place.go.touch()

    async def test_whether_the_command_itself_lives_is_seen_beside_its_children(self, executor: Executor, place: Place) -> None:
        before = await executor.command_lives(place.directory)
        await executor.start(place.directory, place.toy("count", "--children", "1", "--until", str(place.go)))
        await said(executor, place)
        state = rundir.state(place.directory)
        assert state

        running = await executor.command_lives(place.directory)
        os.kill(place.pid_here(state.pid), signal.SIGKILL)

        async def over() -> bool:
            return await executor.command_lives(place.directory) is False

        await until(over)
        assert (await executor.look(place.directory)).alive
        assert (None, True) == (before, running)
        place.go.touch()

    async def test_another_process_with_the_shims_pid_is_not_taken_for_it(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
        _amend(place, shim_start_ticks=1)

        assert await executor.shim_lives(place.directory) is False
        place.go.touch()

    @pytest.mark.parametrize("words", [("--exit", "0"), ("--exit", "1")])
    async def test_what_ended_by_itself_has_no_cause(self, executor: Executor, place: Place, words: tuple[str, ...]) -> None:
        unstarted = await executor.cause(place.directory)
        await executor.start(place.directory, place.toy("count", *words, "--until", str(place.go)))
        running = await executor.cause(place.directory)
        place.go.touch()
        await ended(executor, place)

        assert [None] * 3 == [unstarted, running, await executor.cause(place.directory)]

    async def test_what_was_killed_by_a_signal_alone_shows_no_cause(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
        await executor.signal(place.directory, signal.SIGKILL)
        await ended(executor, place)

        assert await executor.cause(place.directory) is None

    async def test_a_restart_of_the_machine_is_seen_by_its_boot_id(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--until", str(place.go)))
        await said(executor, place)
        place.go.touch()
        await ended(executor, place)
        Path(place.directory, "exit.json").unlink()

        _amend(place, boot_id="00000000-0000-0000-0000-000000000000")

        assert Cause(reason="the machine was restarted while it ran") == await executor.cause(place.directory)

        async def shim_dead() -> bool:
            return not await executor.shim_lives(place.directory)

        assert await until(shim_dead)

    async def test_an_attempt_is_alive_while_a_child_of_its_command_is(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count", "--children", "2", "--until", str(place.go)))
        await said(executor, place)
        state = rundir.state(place.directory)
        assert state

        shim = place.pid_here(state.shim_pid)
        os.kill(place.pid_here(state.pid), signal.SIGKILL)
        await gone(shim)

        assert (await executor.look(place.directory)).alive
        place.go.touch()
        assert (await exit_of(executor, place)).signal == signal.SIGKILL

    async def test_kill_ends_the_whole_tree_wherever_it_fled(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("flee"))
        pids = await fled(executor, place)

        await executor.signal(place.directory, signal.SIGTERM)
        left = await executor.kill(place.directory)

        assert left == []
        assert not any(map(lives, pids))
        assert (await exit_of(executor, place)).signal == signal.SIGKILL

    async def test_kill_finds_what_a_dead_command_left_behind(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("flee"))
        pids = await fled(executor, place)
        await executor.signal(place.directory, signal.SIGKILL)
        await exit_of(executor, place)
        survivors = [pid for pid in pids if lives(pid)]

        left = await executor.kill(place.directory)

        assert len(survivors) == 1
        assert left == []
        assert not lives(survivors[0])

    async def test_a_command_that_is_not_there_is_refused_in_words(self, executor: Executor, place: Place) -> None:
        with pytest.raises(CannotStart, match="no-such-trainer: no such"):
            await executor.start(place.directory, place.spec("no-such-trainer"))

    async def test_a_script_that_is_not_in_the_working_directory_is_refused_in_words(self, executor: Executor, place: Place) -> None:
        with pytest.raises(CannotStart, match=r"run_train_full_sft.sh is not in .*/work; put it there, or set"):
            await executor.start(place.directory, place.spec("bash", "run_train_full_sft.sh", "a.yaml"))

    async def test_a_missing_working_directory_is_refused_in_words(self, executor: Executor, place: Place) -> None:
        place.cwd.rmdir()

        with pytest.raises(CannotStart, match=r"the working directory .*/work does not exist"):
            await executor.start(place.directory, place.spec("true"))

    async def test_a_file_that_is_no_program_is_refused_in_words_and_nothing_stays_alive(self, executor: Executor, place: Place) -> None:
        program = place.cwd / "trainer"
        program.write_bytes(b"\0\1\2 not a program")
        program.chmod(0o755)

        with pytest.raises(CannotStart, match=r"trainer cannot be executed: .*format"):
            await executor.start(place.directory, place.spec("./trainer"))

        end = await exit_of(executor, place)
        assert (end.code, end.signal) == (None, None)
        assert end.error
        assert "./trainer cannot be executed" in end.error

    async def test_words_arrive_literally(self, executor: Executor, place: Place) -> None:
        words = ["$(id)", "`id`", "a'b\"c", "two\nlines", "中文", "", "--", "*", "a b", "\\", "x" * 100_000]

        await executor.start(place.directory, place.toy("show", *words, env={"A": "é\n$(id) 中文"}))
        await ended(executor, place)

        seen = json.loads(await said(executor, place))
        assert words == seen["argv"]
        assert seen["env"]["A"] == "é\n$(id) 中文"

    async def test_the_command_leads_its_own_session_ignores_no_signal_and_has_nothing_to_read(
        self, executor: Executor, place: Place
    ) -> None:
        await executor.start(place.directory, place.toy("show"))
        await ended(executor, place)

        seen = json.loads(await said(executor, place))
        assert seen["leads"]
        assert 0 == seen["ignored"] == seen["blocked"]
        assert seen["stdin"] == ""
        assert seen["cwd"] == str(place.cwd)
        assert seen["env"]["PYTHONUNBUFFERED"] == "1"
        assert seen["env"]["TUNEYARD_RUN_DIRECTORY"].endswith("/run")

    async def test_what_the_environment_says_is_not_overruled(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("show", env={"PYTHONUNBUFFERED": "0", "PATH": os.environ["PATH"]}))
        await ended(executor, place)

        assert json.loads(await said(executor, place))["env"]["PYTHONUNBUFFERED"] == "0"

    async def test_the_spec_is_readable_by_its_owner_only(self, executor: Executor, place: Place) -> None:
        await executor.start(place.directory, place.toy("count"))

        assert Path(place.directory).stat().st_mode & 0o777 == 0o700
        assert Path(place.directory, "spec.json").stat().st_mode & 0o777 == 0o600
