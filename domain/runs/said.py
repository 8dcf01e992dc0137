"""What a trainer said in one breath: the lines, what they measured, and where in its output they stood."""

from datetime import datetime

from msgspec import Struct

from domain.runs.measured import Measured


class Said(Struct, frozen=True, kw_only=True):
    """A stretch of output, read and understood."""

    attempt: int
    lines: list[bytes]
    measured: list[Measured]
    progress: float | None
    """0 to 1, as far as the trainer's words tell."""
    first_byte: int
    end_byte: int
    report_begin: int = 0
    """From where the trainer's own metrics file was read, or from its beginning where that was made anew."""
    report_end: int = 0
    """Up to where."""
    seen_at: datetime
