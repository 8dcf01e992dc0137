"""An attempt is one life of a process: where it ran, and how it ended."""

from datetime import datetime

from msgspec import Struct

from domain.ids import HostName
from domain.processes.failure import Failure


class Attempt(Struct, frozen=True, kw_only=True):
    """One that has ended."""

    number: int
    host: HostName | None
    started_at: datetime | None
    """None when it never began."""
    ended_at: datetime
    exit_code: int | None = None
    failure: Failure | None = None
    """Why it failed; None when it did not."""
