"""How a log is shown over HTTP, whoever it belongs to: any page, any time window, or line by line to a follower."""

import re
from datetime import UTC, datetime

from msgspec import Struct

from api.follow import Told
from domain.errors import Flaw, Invalid
from domain.paging import Page
from domain.processes import queries
from domain.processes.log import Line
from domain.runs.telemetry import level_of

AT_ONCE = 500
"""Lines read for a follower at a time."""


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of a log."""

    timestamp: datetime
    level: str
    message: str


class LogPage(Struct, frozen=True, kw_only=True):
    """A page of a log, or of a time window of it; past the end it has no items, and the true total."""

    page: int
    page_size: int
    total: int
    items: list[LogLine]


def log_page(found: queries.LogPage, page: Page) -> LogPage:
    """Show a page."""
    return LogPage(page=page.number, page_size=page.size, total=found.total, items=[_shown(line) for line in found.lines])


def told(line: Line) -> Told:
    """Tell a follower of one line; its number is the event's id."""
    shown = _shown(line)
    said = {"number": line.number, "timestamp": shown.timestamp, "level": shown.level, "message": shown.message}
    return Told("line", str(line.number), said)


def moment(name: str, text: str | None) -> datetime | None:
    """Read a moment; without a zone it is UTC. Invalid names the parameter."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a + that was not percent-encoded arrives as a blank
    except ValueError:
        message = f"{name} {text} is not an ISO 8601 time such as 2024-01-02T10:00:00Z"
        raise Invalid(message, [Flaw(name, message)]) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def following(last_event_id: str | None) -> int:
    """Return the number of the line behind the one that a follower has."""
    if not last_event_id:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", last_event_id):
        message = f"Last-Event-ID {last_event_id} is not the number of a line"
        raise Invalid(message)
    return int(last_event_id) + 1


def _shown(line: Line) -> LogLine:
    text = line.text.decode("utf-8", "replace")
    return LogLine(timestamp=line.at, level=line.level or level_of(line.text), message=text)
