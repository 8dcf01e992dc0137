"""Processes as rows."""

from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, func, or_, select, text, tuple_, update

from domain.errors import Conflict
from domain.ids import HostName, ProcessId
from domain.processes.placement import Wish
from domain.processes.process import NEXT, OwnerKind, Phase, Process
from domain.processes.waiting import Holder
from infra.db.driver import fixed
from infra.db.rows import Rows, updating
from infra.db.tables import DEPLOYMENTS, PROCESSES, RUNS

_C = PROCESSES.c
_ALL = select(*PROCESSES.columns)
_BY_ID = fixed(_ALL.where(_C.id == bindparam("key")))
_OF = fixed(_ALL.where(_C.owner_id == bindparam("owner")))
_ADVANCE = fixed(
    update(PROCESSES.table)
    .where(_C.id == bindparam("key"), _C.log_offset == bindparam("seen"), _C.report_offset == bindparam("reported"))
    .values(log_offset=bindparam("stored"), report_offset=bindparam("report"))
)
_WISH = (_C.id, _C.priority, _C.created_at, _C.resources, _C.folder, _C.owner_kind, _C.preferred_gpu)
_IN_TURN = (_C.priority.desc(), _C.created_at, _C.id)
_WISHES = fixed(
    select(*_WISH).where(_C.phase == Phase.waiting, or_(_C.not_before.is_(None), _C.not_before <= bindparam("now"))).order_by(*_IN_TURN)
)
_OWN_TURN = tuple_(bindparam("own_at", type_=_C.created_at.type), bindparam("own_id", type_=_C.id.type))
_IS_AHEAD = and_(
    _C.phase == Phase.waiting,
    or_(
        _C.priority > bindparam("own_priority"),
        and_(_C.priority == bindparam("own_priority"), tuple_(_C.created_at, _C.id) < _OWN_TURN),
    ),
)
_AHEAD = select(*_WISH).where(_IS_AHEAD).order_by(*_IN_TURN).limit(bindparam("size"))
_COUNT_AHEAD = select(func.count()).where(_IS_AHEAD)
_GIVE = fixed(
    update(PROCESSES.table)
    .where(_C.id == bindparam("key"), _C.phase == Phase.waiting)
    .values(phase=Phase.placed, host=bindparam("to"), gpus=bindparam("devices", type_=_C.gpus.type), updated_at=bindparam("at"))
)
_UNTAKEN = fixed(_ALL.where(_C.phase == Phase.placed).with_for_update())
_IS_ON_HAND = or_(*(_C.phase == phase for phase in (Phase.placed, Phase.starting, Phase.alive)))
_TAKES_SLOT = or_(*(_C.owner_kind == kind for kind in OwnerKind if kind.takes_slot))
_LIVING = fixed(select(_C.host, func.count()).where(_IS_ON_HAND, _TAKES_SLOT).group_by(_C.host))
_OWNERS = fixed(select(_C.id, _C.owner_id).where(_IS_ON_HAND))
_ON_HAND = fixed(_ALL.where(_IS_ON_HAND, _C.host == bindparam("host")).order_by(_C.created_at, _C.id))
_LOCKED = fixed(_BY_ID.with_for_update())
_SAVE = {
    phase: updating(PROCESSES.table, or_(*(_C.phase == before for before in (phase, *(each for each in Phase if phase in NEXT[each])))))
    for phase in Phase
}
_SAVE_AGAIN = updating(PROCESSES.table, _C.phase != Phase.over, _C.attempt < bindparam("next_attempt"))
_HAS_HOST = and_(_C.phase != Phase.over, _C.phase != Phase.waiting)
_RUNS_HOLD = fixed(
    select(_C.id, RUNS.c.id, RUNS.c.name, RUNS.c.host, RUNS.c.gpus, RUNS.c.progress, RUNS.c.started_at)
    .select_from(PROCESSES.table.join(RUNS.table, _C.owner_id == RUNS.c.id))
    .where(_HAS_HOST)
    .order_by(RUNS.c.progress.desc(), RUNS.c.id)
    .limit(bindparam("size"))
)
_DEPLOYMENTS_HOLD = fixed(
    select(_C.id, DEPLOYMENTS.c.id, DEPLOYMENTS.c.served_names, _C.host, _C.gpus, DEPLOYMENTS.c.started_at)
    .select_from(PROCESSES.table.join(DEPLOYMENTS.table, _C.owner_id == DEPLOYMENTS.c.id))
    .where(_HAS_HOST)
    .order_by(DEPLOYMENTS.c.id)
    .limit(bindparam("size"))
)
_PLACEMENT_LOCK = fixed(text("SELECT pg_advisory_xact_lock(hashtext('tuneyard.place'))"))


class ProcessRows(Rows[Process]):
    """The port `Processes`."""

    stored = PROCESSES

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(connection)
        self._now = now

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

    def save_again(self, process: Process) -> None:
        """Write it over a living row of an earlier attempt."""
        if not self.write(process, _SAVE_AGAIN, next_attempt=process.attempt):
            message = f"process {process.id} is over, or has had attempt {process.attempt} already"
            raise Conflict(message, process=process.id)

    def give(self, process_id: ProcessId, host: HostName, gpus: list[str]) -> bool:
        """Only over a row that waits: it may have been cancelled meanwhile."""
        values = {"key": process_id, "to": host, "devices": gpus, "at": self._now}
        return self.connection.execute(_GIVE, values).rowcount == 1

    def advance(self, process: Process, *, to: int, report_to: int) -> bool:
        """Compare and swap the offsets."""
        values = {"key": process.id, "seen": process.log_offset, "reported": process.report_offset, "stored": to, "report": report_to}
        return self.connection.execute(_ADVANCE, values).rowcount == 1

    def lock_placement(self) -> None:
        """An advisory lock on PostgreSQL; on SQLite writers come one at a time anyway."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(_PLACEMENT_LOCK)

    def wishes(self, now: datetime) -> list[Wish]:
        """A few columns each: there may be thousands."""
        return [Wish(*row) for row in self.connection.execute(_WISHES, {"now": now})]

    def ahead_of(self, process: Process, limit: int) -> tuple[list[Wish], int]:
        """In the order of their turn."""
        own = {"own_priority": process.priority, "own_at": process.created_at, "own_id": process.id}
        wishes = [Wish(*row) for row in self.connection.execute(_AHEAD, own | {"size": limit})]
        return wishes, self.connection.scalar(_COUNT_AHEAD, own) or 0

    def untaken(self) -> list[Process]:
        """Placed, and not taken yet."""
        return self.many(_UNTAKEN)

    def living(self) -> dict[HostName, int]:
        """How many each host has on hand."""
        return {HostName(host): count for host, count in self.connection.execute(_LIVING) if host is not None}

    def holders(self, limit: int) -> list[Holder]:
        """Trainings with the GPUs that each was given, then what serves."""
        runs = self.connection.execute(_RUNS_HOLD, {"size": limit})
        deployments = self.connection.execute(_DEPLOYMENTS_HOLD, {"size": limit})
        return [
            *(Holder(process, owner, name, host, len(gpus), progress, at) for process, owner, name, host, gpus, progress, at in runs),
            *(Holder(process, owner, names[0], host, len(gpus), None, at) for process, owner, names, host, gpus, at in deployments),
        ]

    def ended_since(self, host: HostName, moment: datetime) -> list[Process]:
        """A scan: asked once, when a worker starts."""
        return self.many(_ALL.where(_C.phase == Phase.over, _C.host == host, _C.updated_at >= moment))

    def owners(self) -> dict[ProcessId, str]:
        """By process."""
        return {row[0]: row[1] for row in self.connection.execute(_OWNERS)}

    def on(self, host: HostName) -> list[Process]:
        """Oldest first."""
        return self.many(_ON_HAND, host=host)
