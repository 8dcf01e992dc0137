"""A run's log over HTTP: any page, any time window, or live."""

import re
from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, get
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent
from msgspec import Struct

from api.follow import Batch, Told, stream
from api.provide import TheCaller, WantedPage
from domain.errors import Flaw, Invalid
from domain.processes.log import Line
from domain.runs import queries
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


class RunLogController(Controller):
    """What people may ask of a run's log."""

    path = "/projects/{ref:str}/runs/{run:str}/logs"
    tags = ("runs",)

    @get()
    async def read_log(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        wanted_page: WantedPage,
        start_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen then or later.")] = None,
        end_time: Annotated[str | None, QueryParameter(description="ISO 8601; lines seen before.")] = None,
    ) -> LogPage:
        """Read a page of the log; times without a zone are UTC."""
        start, end = _moment("start_time", start_time), _moment("end_time", end_time)
        found = await caller.db.read(queries.log_page, ref, run, wanted_page, start, end)
        items = [_line(line) for line in found.lines]
        return LogPage(page=wanted_page.number, page_size=wanted_page.size, total=found.total, items=items)

    @get("/stream")
    async def follow_log(
        self,
        caller: TheCaller,
        ref: FromPath[str],
        run: FromPath[str],
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="Go on behind this line.")] = None,
    ) -> ServerSentEvent:
        """Follow the log live: an event `line` per line, whose id is its number, and `end` once the run is over and all is told."""
        followed = await caller.db.read(queries.get, ref, run)
        following = _number(last_event_id)

        async def read() -> Batch:
            nonlocal following
            now, lines = await caller.db.read(queries.follow, followed, following, AT_ONCE)
            told = [Told("line", str(line.number), _numbered(line)) for line in lines]
            following += len(lines)
            if now.over and not lines:
                end = {"status": now.status, "status_label": now.status.label(caller.language), "exit_code": now.exit_code}
                return Batch([Told("end", None, end)], over=True)
            return Batch(told)

        return stream(caller.world.news, followed.id, caller.closing, read)


def _line(line: Line) -> LogLine:
    text = line.text.decode("utf-8", "replace")
    return LogLine(timestamp=line.at, level=line.level or level_of(line.text), message=text)


def _numbered(line: Line) -> dict[str, object]:
    shown = _line(line)
    return {"number": line.number, "timestamp": shown.timestamp, "level": shown.level, "message": shown.message}


def _moment(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a + that was not percent-encoded arrives as a blank
    except ValueError:
        message = f"{name} {text} is not an ISO 8601 time such as 2024-01-02T10:00:00Z"
        raise Invalid(message, [Flaw(name, message)]) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", last_event_id):
        message = f"Last-Event-ID {last_event_id} is not the number of a line"
        raise Invalid(message)
    return int(last_event_id) + 1
