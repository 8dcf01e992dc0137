"""A host is a machine where commands can be started, as long as a live worker holds its lease."""

from datetime import datetime, timedelta

from msgspec import Struct

from domain.hosts.gpu import SeenGpu
from domain.ids import HostName
from domain.words import Word


class HostStatus(Word):
    """Whether anything can be placed on a host."""

    live = ("live", "在线", "Live")
    draining = ("draining", "排空中", "Draining")
    lost = ("lost", "失联", "Unreachable")


class Host(Struct, frozen=True, kw_only=True):
    """A machine with a worker."""

    id: HostName
    address: str
    """Where the API reaches what is deployed there."""
    boot_id: str
    """Changes when the machine starts anew: what ran before is dead for certain."""
    lease: int
    """Bumped each time a worker registers; a writer with an older one is a ghost."""
    lease_until: datetime
    """By the database's clock."""
    slots: int
    """How many processes may live there at once."""
    folder: str
    """The id of its training folder; hosts that share the folder share the id."""
    accepting: bool = True
    """False while it is drained: what runs there goes on, nothing new is placed."""
    executor: str
    """What runs its trainings unless a project says otherwise."""
    registered_at: datetime

    def live(self, now: datetime) -> bool:
        """Whether a worker has spoken for it lately."""
        return now < self.lease_until


class Registration(Struct, frozen=True, kw_only=True):
    """What a worker says of the machine it speaks for."""

    name: HostName
    address: str
    boot_id: str
    slots: int
    gpus: list[SeenGpu]
    folder: str
    """The id of its training folder."""
    executor: str
    sole: bool
    """Whether it holds the flock of the host's folder: no other worker of this machine lives."""
    ttl: timedelta
    """How long its lease is valid without a word from it. Death of a training needs other evidence; this fences writers."""
