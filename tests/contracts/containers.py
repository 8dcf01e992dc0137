"""Where the tests of commands in containers happen."""

from contextlib import suppress
from pathlib import Path

from infra.executors import tree
from tests.contracts.executors import Place
from tests.toys import count

TOYS = Path(count.__file__).parent


class InContainer(Place):
    """A place whose commands count their pids in a namespace of their own."""

    def pid_here(self, pid: int) -> int:
        """Find it by the namespace that the shim recorded."""
        return next(each for each in self.pids() if _innermost(each) == pid)

    def pids(self) -> list[int]:
        """Name the pids on this host of everything in that namespace."""
        who = tree.command(self.directory)
        assert who
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and str((entry / "ns/pid").readlink()) == who.pid_namespace:
                    found.append(int(entry.name))
        return found


def _innermost(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].partition("\n")[0].split()[-1])
    return None
