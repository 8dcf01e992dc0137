"""What a process needs from the world: something that can start a command on this host and look at it afterwards.

An executor places the shim and reads its run directory; it decides nothing. One contract suite runs over every executor.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Protocol

from msgspec import Struct

from domain.ids import HostName, ProcessId
from domain.processes.failure import FailureClass
from domain.processes.log import LogChunk
from domain.processes.placement import Wish
from domain.processes.process import Process
from domain.processes.waiting import Holder


class Spec(Struct, frozen=True, kw_only=True):
    """`spec.json`: everything the shim needs to start one attempt of one command, exactly once."""

    process_id: str
    attempt: int
    argv: list[str]
    """Never a shell string; each element arrives literally."""
    env: dict[str, str]
    """Added to the host's own environment. The file is readable by its owner only."""
    cwd: str


class Exit(Struct, frozen=True, kw_only=True):
    """`exit.json`: how one attempt ended, written once by the shim (tmp, fsync, rename)."""

    attempt: int
    code: int | None = None
    """Exit code of the command; None when it was killed by a signal or never began."""
    signal: int | None = None
    error: str | None = None
    """Why the command could not be executed at all; None when it ran."""
    ended_at: float
    """Wall clock of the host, seconds since the epoch."""


class Sight(Struct, frozen=True, kw_only=True):
    """What a run directory says at one moment."""

    started: bool = False
    """The one start of this attempt was claimed: it must never be launched again."""
    alive: bool = False
    """Somebody of the attempt still holds its lock: the shim, the command, or a child of it."""
    attempt: int | None = None
    pid: int | None = None
    """The command's pid as its host counts, or its container; with `start_ticks` and `boot_id` its identity, never alone."""
    start_ticks: int | None = None
    boot_id: str | None = None
    started_at: float | None = None
    exit: Exit | None = None
    log_size: int = 0
    """Bytes in out.log."""


class Cause(Struct, frozen=True, kw_only=True):
    """What ended an attempt against its will, as far as there is evidence."""

    out_of_memory: bool = False
    """The kernel killed it because its memory, or its container's, ran out."""
    reason: str
    """One sentence without a full stop."""


class CannotStart(Exception):
    """The executor refuses, with the reason in words; nothing of the attempt runs.

    `passing` says that what is in the way may pass by itself, so that another attempt is worth it.
    """

    blame: ClassVar[FailureClass] = FailureClass.infrastructure
    """Who failed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class BadInput(CannotStart):
    """What the command would read is not what it was launched with."""

    blame = FailureClass.bad_input


class Broken(CannotStart):
    """Tuneyard itself is broken there."""

    blame = FailureClass.platform


class Executor(Protocol):
    """A way to run commands on this host. `directory` is the absolute path of one attempt's run directory."""

    async def start(self, directory: str, spec: Spec) -> None:
        """Start the attempt, once however often this is called; CannotStart with a reason when it is impossible."""
        ...

    async def look(self, directory: str) -> Sight:
        """What is there now; an empty Sight when nothing is."""
        ...

    async def read(self, directory: str, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the output from `offset`; empty at the end."""
        ...

    async def signal(self, directory: str, number: int, *, alone: bool = False) -> bool:
        """Send a signal to the command's whole process group, or to it alone, if that very command still lives; whether it was sent."""
        ...

    async def ask_to_stop(self, directory: str) -> None:
        """Leave the file `stop`, which the command may watch for in $TUNEYARD_RUN_DIRECTORY; what was not started yet never will be."""
        ...

    async def kill(self, directory: str) -> list[int]:
        """SIGKILL all that is left of the attempt, in whichever session it hides; the pids that would not go (none: verified dead)."""
        ...

    async def shim_lives(self, directory: str) -> bool | None:
        """Whether the shim that would record the exit still lives; None when that cannot be seen. Too dear for every look."""
        ...

    async def command_lives(self, directory: str) -> bool | None:
        """Whether the command itself still lives, not only what it started; None when that cannot be seen. Too dear for every look."""
        ...

    async def cause(self, directory: str) -> Cause | None:
        """What killed an attempt that is over and did not end well; None when nothing shows it, or it ended by itself."""
        ...


class Processes(Protocol):
    """The processes."""

    def get(self, process_id: ProcessId) -> Process | None:
        """As it stands."""
        ...

    def lock(self, process_id: ProcessId) -> Process | None:
        """As it stands, and nobody else changes it until the transaction ends."""
        ...

    def of(self, owner_id: str) -> Process:
        """The process of an owner."""
        ...

    def add(self, process: Process) -> None:
        """Keep a new one."""
        ...

    def save(self, process: Process) -> None:
        """Keep a changed one; Conflict when the row has meanwhile gone further."""
        ...

    def save_again(self, process: Process) -> None:
        """Keep one that begins its next attempt; Conflict when it is over, or has begun that attempt already."""
        ...

    def give(self, process_id: ProcessId, host: HostName, gpus: list[str]) -> bool:
        """Place a waiting one; False when it does not wait any more."""
        ...

    def advance(self, process: Process, *, to: int, report_to: int) -> bool:
        """Move both offsets from where `process` has them; False when somebody else moved them first."""
        ...

    def lock_placement(self) -> None:
        """Let no other placement run until the transaction ends."""
        ...

    def wishes(self, now: datetime) -> list[Wish]:
        """What all that wait may be given now, highest priority first, then oldest; who waits for a later attempt is not among them."""
        ...

    def ahead_of(self, process: Process, limit: int) -> tuple[list[Wish], int]:
        """The first of those that come before this one, and how many there are."""
        ...

    def untaken(self) -> list[Process]:
        """Those placed on a host that has not taken them yet."""
        ...

    def living(self) -> dict[HostName, int]:
        """How many processes each host has on its hands that take one of its slots."""
        ...

    def holders(self, limit: int) -> list[Holder]:
        """Those that have a host, furthest along first: what those wait for that have none."""
        ...

    def ended_since(self, host: HostName, moment: datetime) -> list[Process]:
        """Those over on this host that changed last at that moment or later."""
        ...

    def owners(self) -> dict[ProcessId, str]:
        """Whose process each is that hosts have on their hands."""
        ...

    def on(self, host: HostName) -> list[Process]:
        """Everything this host has on its hands: placed, starting or alive."""
        ...


class Logs(Protocol):
    """Stored output: compressed chunks whose lines are numbered densely per owner."""

    def last(self, owner_id: str) -> LogChunk | None:
        """The chunk with the highest line numbers."""
        ...

    def put(self, chunks: Iterable[LogChunk]) -> None:
        """Write chunks; the open one replaces itself."""
        ...

    def end(self, owner_id: str) -> int:
        """How many lines there are."""
        ...

    def between(self, owner_id: str, first: int, stop: int) -> list[LogChunk]:
        """The chunks that hold lines `first` to `stop`, exclusive."""
        ...

    def last_begun_before(self, owner_id: str, at: int) -> LogChunk | None:
        """The last chunk whose first line is older than `at` (microseconds since the epoch)."""
        ...


class HasProcesses(Protocol):
    """A transaction that reaches processes and their output."""

    @property
    def processes(self) -> Processes:
        """The processes."""
        ...

    @property
    def logs(self) -> Logs:
        """Their stored output."""
        ...
