"""GPUs as rows: each has one column for its holder, so two processes cannot hold the same one."""

from msgspec.structs import asdict
from sqlalchemy import bindparam, delete, select, update

from domain.errors import Conflict
from domain.hosts.gpu import Gpu, SeenGpu
from domain.ids import HostName, ProcessId
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import GPUS

_C = GPUS.c
_ALL = select(*GPUS.columns).order_by(_C.host, _C.number)
_EVERY = fixed(_ALL)
_OF = fixed(_ALL.where(_C.host == bindparam("of")))
_HELD = fixed(_ALL.where(_C.holder == bindparam("process")))
_TAKE = fixed(
    update(GPUS.table)
    .where(_C.host == bindparam("of"), _C.number == bindparam("which"), _C.holder.is_(None), _C.set_aside.is_(None))
    .values(holder=bindparam("process"))
)
_RELEASE = fixed(update(GPUS.table).where(_C.holder == bindparam("process")).values(holder=None))
_SET_ASIDE = fixed(update(GPUS.table).where(_C.holder == bindparam("process")).values(holder=None, set_aside=bindparam("reason")))
_SHOWN = ("uuid", "type", "memory_bytes", "utilization", "memory_used_bytes")
_SHOW = fixed(
    update(GPUS.table)
    .where(_C.host == bindparam("of"), _C.number == bindparam("which"))
    .values({name: bindparam(f"seen_{name}", type_=_C[name].type) for name in _SHOWN})
)


class GpuRows(Rows[Gpu]):
    """The port `Gpus`."""

    stored = GPUS

    def all(self) -> list[Gpu]:
        """Every one."""
        return self.many(_EVERY)

    def of(self, host: HostName) -> list[Gpu]:
        """By number."""
        return self.many(_OF, of=host)

    def held_by(self, process_id: ProcessId) -> list[Gpu]:
        """By number."""
        return self.many(_HELD, process=process_id)

    def see(self, host: HostName, seen: list[SeenGpu]) -> None:
        """Only what the driver shows is written: who holds a GPU is no business of a heartbeat's."""
        known = {gpu.number: gpu for gpu in self.of(host)}
        for each in seen:
            before = known.pop(each.number, None)
            facts = asdict(each)
            if before is None:
                self.insert(Gpu(host=host, **facts))
            elif any(getattr(before, name) != facts[name] for name in _SHOWN):
                shown = {f"seen_{name}": facts[name] for name in _SHOWN}
                self.connection.execute(_SHOW, {"of": host, "which": each.number} | shown)
        for gone in known.values():
            self.connection.execute(delete(GPUS.table).where(_C.host == host, _C.number == gone.number, _C.holder.is_(None)))

    def grant(self, process_id: ProcessId, gpus: list[Gpu]) -> None:
        """Take each only if it is free."""
        for gpu in gpus:
            if self.connection.execute(_TAKE, {"of": gpu.host, "which": gpu.number, "process": process_id}).rowcount != 1:
                message = f"GPU {gpu.number} of host {gpu.host} is not free"
                raise Conflict(message, host=gpu.host)

    def release(self, process_id: ProcessId) -> None:
        """Free all it holds."""
        self.connection.execute(_RELEASE, {"process": process_id})

    def set_aside(self, process_id: ProcessId, reason: str) -> None:
        """Free of their holder, and not free."""
        self.connection.execute(_SET_ASIDE, {"process": process_id, "reason": reason})

    def give_back(self, host: HostName, number: int | None) -> int:
        """Free again."""
        statement = update(GPUS.table).where(_C.host == host, _C.set_aside.is_not(None)).values(set_aside=None)
        if number is not None:
            statement = statement.where(_C.number == number)
        return self.connection.execute(statement).rowcount
