"""What a worker has in hand: the world, the host it speaks for, and the ways to run commands there."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from domain.hosts.gpu import SeenGpu
from domain.ids import HostName
from domain.processes.ports import CannotStart, Executor
from domain.processes.process import Process
from infra.db.database import Database
from infra.servers import Asker
from infra.settings import Settings


class Speaker(Struct, frozen=True):
    """The host this worker speaks for, and the lease that allows it."""

    name: HostName
    lease: int


class Hand(Struct, frozen=True, kw_only=True):
    """Everything a worker's tasks need."""

    db: Database
    """On behalf of the host."""
    settings: Settings
    speaker: Speaker
    executors: dict[str, Executor]
    gpus: Callable[[], list[SeenGpu]]
    """Looks at this host's GPUs."""
    asker: Asker
    """Asks the servers of this host how they are."""
    memory_held: Callable[[list[str]], str | None] = lambda _: None
    """Says, in words, what memory of these devices is in use though no living process has it; None when there is none."""

    @property
    def root(self) -> Path:
        """The training directory."""
        return Path(self.settings.training_path)

    def root_of(self, process: Process) -> Path:
        """Return where this process sees the training directory: in a container it may be another path."""
        seen_at = self.settings.container_training_path if self._name_of(process) == "docker" else None
        return Path(seen_at or self.settings.training_path)

    def cwd_of(self, process: Process) -> str:
        """Return where this process starts."""
        if self._name_of(process) == "docker":
            return self.settings.docker_working_dir
        return self.settings.working_dir or self.settings.training_path

    def executor_of(self, process: Process) -> Executor:
        """Return the way this process is to be run; CannotStart when this host does not have it."""
        name = self._name_of(process)
        if name not in self.executors:
            known = ", ".join(self.executors)
            message = f"host {self.speaker.name} has no executor {name}; set TUNEYARD_EXECUTOR or the project's executor to one of {known}"
            raise CannotStart(message)
        return self.executors[name]

    def directory_of(self, process: Process) -> str:
        """Return the run directory of the process's attempt."""
        return str(self.root / process.directory)

    def _name_of(self, process: Process) -> str:
        return process.executor or self.settings.executor
