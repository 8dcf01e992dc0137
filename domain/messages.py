"""What may be said to a host: small tagged words that carry ids only, so a lost or doubled one costs nothing.

The row says what is wanted; a message only says where to look.
"""

from msgspec import Struct

from domain.ids import ProcessId


class LookAtProcess(Struct, frozen=True, tag="process"):
    """Something about this process has changed: make the world match its row."""

    process_id: ProcessId


Message = LookAtProcess
