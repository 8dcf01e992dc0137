"""Counting trainings for the crash tests: every line can be checked, and every start leaves a line in a ledger."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.house import House, eventually
from tests.toys import count

TOY = Path(count.__file__)
SAVES = """
save() {
  here="$TUNEYARD_OUTPUT_DIR/checkpoint-$1"; mkdir -p "$here"
  printf '{"global_step": %s}' "$1" > "$here/trainer_state.json"; printf '\\2\\0\\0\\0\\0\\0\\0\\0{}' > "$here/model.safetensors"
}
"""
"""For a script: `save STEP` leaves a complete checkpoint."""


class Counted:
    """A project whose trainings count; each can be held until it is let go."""

    def __init__(
        self, house: House, *, lines: int = 50, rate: float = 0, code: int = 0, held: bool = False, first: str = "", name: str = "项目"
    ) -> None:
        """`first` is what the script does before it counts."""
        self.house = house
        self.expected = count.lines(lines).decode().splitlines()
        self._ledger = house.folder / f"{name}.ledger"
        self._gate = house.folder / f"{name}.gate"
        until = f"--until '{self._gate}'" if held else ""
        self.name = house.project(
            name,
            script=f"""
            echo "$TUNEYARD_RUN_ID" >> '{self._ledger}'
            {first}
            exec "$PYTHON" -S '{TOY}' --lines {lines} --rate {rate} --exit {code} {until}
            """,
        )

    def launch(self) -> str:
        """Launch a run; its name."""
        return self.house.launch(self.name)

    def counting(self) -> str:
        """Launch a run and wait until it has said all it has to say; its name."""
        run = self.launch()
        self.wait_for(run, len(self.expected) + 1)
        return run

    def show(self, run: str) -> dict[str, Any]:
        """Show a run."""
        return self.house.run(self.name, run)

    def let_go(self) -> None:
        """Let every held training end."""
        self._gate.touch()

    def ended(self, run: str) -> dict[str, Any]:
        """Wait for the run's end."""
        return self.house.ended(self.name, run)

    def wait_for(self, run: str, lines: int) -> None:
        """Wait until so many lines are stored."""
        eventually(lambda: self.total(run) >= lines)

    def total(self, run: str) -> int:
        """How many lines are stored."""
        answer = self.house.ok("GET", f"/projects/{self.name}/runs/{run}/logs?page_size=1")
        return int(answer["total"])

    def said(self, run: str) -> list[str]:
        """Return what the training itself said: all lines but our first and our last."""
        return self.house.lines(self.name, run)[1:-1]

    def starts(self) -> list[str]:
        """Return the ids of the runs whose training was started, once for each start."""
        return self._ledger.read_text().splitlines() if self._ledger.exists() else []

    def directory(self, run: str, attempt: int = 1) -> Path:
        """Return the run directory of an attempt."""
        return self.house.training / "runs" / str(self.show(run)["id"]) / f"attempt-{attempt}"

    def recorded(self, run: str, name: str, attempt: int = 1) -> dict[str, Any]:
        """Return a file of an attempt's run directory, once it is there."""
        path = self.directory(run, attempt) / name
        return dict(json.loads(eventually(lambda: path.exists() and path.read_text())))

    def trainer(self, run: str) -> int:
        """Return the pid of a living training."""
        return int(self.recorded(run, "state.json")["pid"])

    def cancel(self, run: str, **query: Any) -> dict[str, Any]:
        """Ask a run to stop, without waiting until it has."""
        answer = self.house.ok("POST", f"/projects/{self.name}/runs/{run}/cancel", headers={"Prefer": "wait=0"}, params=query)
        return dict(answer)

    def conditions(self, run: str) -> list[str]:
        """Return what is the matter with a run."""
        return [each["name"] for each in self.show(run)["conditions"]]

    def assert_whole(self, run: str, *, status: str = "succeeded", code: int | None = 0) -> None:
        """Every line once and in order, the true exit code, and one start."""
        shown = self.ended(run)
        assert (status, code) == (shown["status"], shown["exit_code"]), shown["failure"]
        assert self.expected == self.said(run)
        assert 1 == self.starts().count(shown["id"])


def lives(pid: int) -> bool:
    """Whether a process is there and not merely unnoticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids_of(directory: Path) -> set[int]:
    """Return whoever lives of the attempt of a run directory, found by its mark in their environment; the shim bears none."""
    mark = f"TUNEYARD_RUN_DIRECTORY={directory}".encode()
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and lives(int(entry.name)) and mark in _environment(entry)
    }


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid and lives(int(entry.name)):
                found.append(int(entry.name))
    return found


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Freeze processes for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def kill_both(*pids: int) -> None:
    """Kill processes at one moment: none of them sees the other's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


def dawdle(seconds: float) -> None:
    """Let a random moment pass before a fault: the moment is what is tested, nothing waits for it."""
    time.sleep(seconds)


def live(house: House) -> bool:
    """Whether any worker speaks for a host of the house."""
    return any(host["live"] for host in house.client.get("/_internal/health").json()["hosts"])


@contextmanager
def in_the_middle_of_a_start(toy: Counted) -> Iterator[tuple[str, int]]:
    """Launch a run and hold its start just before the command can be known; the run, and its launcher."""
    toy.house.worker.kill()
    run = toy.launch()
    toy.directory(run).mkdir(parents=True)
    # While we hold the lease of a file, whoever wants to write to it waits.
    state = os.open(toy.directory(run) / "state.json.tmp", os.O_RDWR | os.O_CREAT)
    fcntl.fcntl(state, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(state, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    toy.house.worker.start()
    assert toy.house.worker.process is not None
    try:
        eventually(lambda: len(shims(toy, run)) == 3)
        (launcher,) = children(toy.house.worker.process.pid)
        yield run, launcher
    finally:
        os.close(state)


def shims(toy: Counted, run: str) -> list[int]:
    """Who runs the shim's code for this run: the launcher, the shim, and the command that is none yet."""
    directory = str(toy.directory(run)).encode()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and directory in _words(entry)]


def _words(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
