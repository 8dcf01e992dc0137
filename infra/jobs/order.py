"""What a job's program is told: a file in the job's folder, written by the worker. It holds no key; that comes from the host's settings."""

from msgspec import Struct

from domain.jobs.job import BadLines, Source


class Order(Struct, frozen=True, kw_only=True):
    """`order.json`."""

    root: str
    """The training directory as this host sees it."""
    folder: str
    """The job's own, where everything that is under way lies."""
    policy_id: str
    policy: str
    """The policy's text."""
    key_id: str
    seed: int | None
    bad_lines: BadLines
    sources: list[Source]
    ratio: int
    """How far a packed file may unpack."""
