"""Counting trainings for the crash tests: every line can be checked, and every start leaves a line in a ledger."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.house import House, eventually
from tests.toys import count

TOY = Path(count.__file__)


class Counted:
    """A project whose trainings count; each can be held until it is let go."""

    def __init__(self, house: House, *, lines: int = 50, rate: float = 0, code: int = 0, held: bool = False) -> None:
        self.house = house
        self.expected = count.lines(lines).decode().splitlines()
        self._ledger = house.folder / "ledger"
        self._gate = house.folder / "gate"
        until = f"--until '{self._gate}'" if held else ""
        self.name = house.project(
            script=f"""
            echo "$TUNEYARD_RUN_ID" >> '{self._ledger}'
            exec "$PYTHON" -S '{TOY}' --lines {lines} --rate {rate} --exit {code} {until}
            """
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

    def recorded(self, run: str, name: str) -> dict[str, Any]:
        """Return a file of the run's first attempt, once it is there."""
        path = self.house.training / "runs" / self.show(run)["id"] / "attempt-1" / name
        return dict(json.loads(eventually(lambda: path.exists() and path.read_text())))

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


def kill_both(*pids: int) -> None:
    """Kill processes at one moment: none of them sees the other's end."""
    for number in (19, 9):
        for pid in pids:
            os.kill(pid, number)


def dawdle(seconds: float) -> None:
    """Let a random moment pass before a fault: the moment is what is tested, nothing waits for it."""
    time.sleep(seconds)
