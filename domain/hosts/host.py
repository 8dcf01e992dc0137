"""A host is a machine where commands can be started, as long as a live worker holds its lease."""

from datetime import datetime, timedelta

from msgspec import Struct

from domain.ids import HostName


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
    accepting: bool = True
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
    executor: str
    sole: bool
    """Whether it holds the flock of the host's folder: no other worker of this machine lives."""
    ttl: timedelta
    """How long its lease is valid without a word from it. Death of a training needs other evidence; this fences writers."""
