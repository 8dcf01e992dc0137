"""Processes as rows."""

from sqlalchemy import bindparam, func, or_, select, text, update

from domain.errors import Conflict
from domain.ids import HostName, ProcessId
from domain.processes.process import NEXT, Phase, Process
from infra.db.driver import fixed
from infra.db.rows import Rows, updating
from infra.db.tables import PROCESSES

_C = PROCESSES.c
_ALL = select(*PROCESSES.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_OF = fixed(_ALL.where(_C.owner_id == bindparam("owner")))
_ADVANCE = fixed(
    update(PROCESSES.table)
    .where(_C.id == bindparam("key"), _C.log_offset == bindparam("seen"), _C.report_offset == bindparam("reported"))
    .values(log_offset=bindparam("stored"), report_offset=bindparam("report"))
)
_WAITING = _ALL.where(_C.phase == Phase.waiting).order_by(_C.priority.desc(), _C.created_at, _C.id).limit(bindparam("size"))
_UNPLACED = fixed(_WAITING)
_UNEXPLAINED = fixed(_WAITING.where(_C.waiting_for.is_(None)))
_UNTAKEN = fixed(_ALL.where(_C.phase == Phase.placed).with_for_update())
_EXPLAIN = fixed(
    update(PROCESSES.table).where(_C.id == bindparam("key"), _C.phase == Phase.waiting).values(waiting_for=bindparam("reason"))
)
_IS_ON_HAND = or_(*(_C.phase == phase for phase in (Phase.placed, Phase.starting, Phase.alive)))
_LIVING = fixed(select(_C.host, func.count()).where(_IS_ON_HAND).group_by(_C.host))
_ON_HAND = fixed(_ALL.where(_IS_ON_HAND, _C.host == bindparam("host")).order_by(_C.created_at, _C.id))
_LOCKED = fixed(_BY_ID.with_for_update())
_SAVE = {
    phase: updating(PROCESSES.table, or_(*(_C.phase == before for before in (phase, *(each for each in Phase if phase in NEXT[each])))))
    for phase in Phase
}
_PLACEMENT_LOCK = fixed(text("SELECT pg_advisory_xact_lock(hashtext('tuneyard.place'))"))


class ProcessRows(Rows[Process]):
    """The port `Processes`."""

    stored = PROCESSES

    def get(self, process_id: ProcessId) -> Process | None:
        """By id."""
        return self.one(_BY_ID, key=process_id)

    def lock(self, process_id: ProcessId) -> Process | None:
        """By id, locked."""
        return self.one(_LOCKED, key=process_id)

    def of(self, owner_id: str) -> Process:
        """The owner's one process."""
        return self.stored.struct_of(self.connection.execute(_OF, {"owner": owner_id}).one())

    def add(self, process: Process) -> None:
        """Insert."""
        self.insert(process)

    def save(self, process: Process) -> None:
        """Write it over a row that has not gone further."""
        if not self.write(process, _SAVE[process.phase]):
            message = f"process {process.id} has meanwhile gone further than {process.phase}"
            raise Conflict(message, process=process.id)

    def explain(self, reasons: list[tuple[ProcessId, str | None]]) -> None:
        """Write why they wait, while they do."""
        if reasons:
            self.connection.execute(_EXPLAIN, [{"key": process_id, "reason": reason} for process_id, reason in reasons])

    def advance(self, process: Process, *, to: int, report_to: int) -> bool:
        """Compare and swap the offsets."""
        values = {"key": process.id, "seen": process.log_offset, "reported": process.report_offset, "stored": to, "report": report_to}
        return self.connection.execute(_ADVANCE, values).rowcount == 1

    def lock_placement(self) -> None:
        """An advisory lock on PostgreSQL; on SQLite writers come one at a time anyway."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(_PLACEMENT_LOCK)

    def unplaced(self, limit: int, *, unexplained: bool) -> list[Process]:
        """Those that wait."""
        return self.many(_UNEXPLAINED if unexplained else _UNPLACED, size=limit)

    def untaken(self) -> list[Process]:
        """Placed, and not taken yet."""
        return self.many(_UNTAKEN)

    def living(self) -> dict[HostName, int]:
        """How many each host has on hand."""
        return {HostName(host): count for host, count in self.connection.execute(_LIVING) if host is not None}

    def on(self, host: HostName) -> list[Process]:
        """Oldest first."""
        return self.many(_ON_HAND, host=host)
