"""What people may read of any process, whoever it lives for: its log, and why it waits. Nothing here changes anything."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from domain.database import Transaction
from domain.errors import Flaw, Invalid
from domain.hosts.ports import HasHosts
from domain.ids import HostName
from domain.paging import Page
from domain.processes import yard
from domain.processes.condition import Condition, ConditionName
from domain.processes.log import Line, lines_of, micros
from domain.processes.placement import Wish
from domain.processes.ports import HasProcesses
from domain.processes.process import Process
from domain.processes.waiting import Waiting, explain

MOST_AHEAD = 50
MOST_HOLDERS = 500
"""How many of those ahead, and of those that hold something, an explanation looks at."""


class Tx(Transaction, HasProcesses, HasHosts, Protocol):
    """What these questions may touch."""


class LogPage(Struct, frozen=True, kw_only=True):
    """Some lines of a log, and how many the whole window has."""

    lines: list[Line]
    total: int


def log_page(tx: HasProcesses, owner_id: str, page: Page, start: datetime | None, end: datetime | None) -> LogPage:
    """Return a page of a log within a time window (`start` inclusive, `end` exclusive); past the end it is empty."""
    first = _line_at(tx, owner_id, start) if start else 0
    stop = _line_at(tx, owner_id, end) if end else tx.logs.end(owner_id)
    begin = first + page.offset
    return LogPage(lines=log_lines(tx, owner_id, begin, min(begin + page.size, stop)), total=max(stop - first, 0))


def require_window(start: datetime | None, end: datetime | None) -> None:
    """Invalid when a time window ends before it begins."""
    if start and end and end < start:
        message = f"end_time {end.isoformat()} is before start_time {start.isoformat()}"
        raise Invalid(message, [Flaw("end_time", message)])


def log_lines(tx: HasProcesses, owner_id: str, first: int, stop: int) -> list[Line]:
    """Return the lines `first` to `stop`, exclusive."""
    return lines_of(tx.logs.between(owner_id, first, stop), first, stop) if stop > first else []


def waiting(tx: Tx, process: Process) -> Waiting:
    """Explain why a process waits, from the rows as they are."""
    wish = Wish(process.id, process.priority, process.created_at, process.resources, process.folder, process.owner_kind)
    ahead, count = tx.processes.ahead_of(process, MOST_AHEAD)
    hosts = yard.seen(tx)
    return explain(
        wish,
        ahead,
        yard.places(hosts),
        tx.processes.holders(MOST_HOLDERS),
        position=count + 1,
        now=tx.now,
        not_before=process.not_before,
        away=yard.away(hosts),
    )


def silence(tx: HasHosts, name: HostName | None, noun: str) -> Condition | None:
    """Say so when nobody speaks for the host of a living process: silence is no death, but a person should know."""
    known = tx.hosts.get(name) if name else None
    if known is None or known[1]:
        return None
    reason = f"host {name} has been silent since {known[0].lease_until:%Y-%m-%d %H:%M:%S} UTC; the {noun} may well go on there"
    return Condition(name=ConditionName.host_lost, reason=reason, since=known[0].lease_until)


def _line_at(tx: HasProcesses, owner_id: str, moment: datetime) -> int:
    at = micros(moment)
    chunk = tx.logs.last_begun_before(owner_id, at)
    return chunk.line_seen_at(at) if chunk else 0
