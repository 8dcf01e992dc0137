"""Hosts as rows. Leases are reckoned by the database's clock, so that no machine's own clock can steal or lose one."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, literal, select, text, update
from sqlalchemy.engine import Connection

from domain.errors import Ghost
from domain.hosts.host import Host
from domain.ids import HostName
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.structs import UtcTime
from infra.db.tables import HOSTS

_C = HOSTS.c
_BY_SERVER_CLOCK = fixed(select(*HOSTS.columns, (_C.lease_until > func.clock_timestamp()).label("live")).order_by(_C.id))
_HELD = fixed(select(_C.lease).where(_C.id == bindparam("name")).with_for_update(read=True, key_share=True))
_NAME_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('tuneyard.host.' || CAST(:name AS text)))")


class HostRows(Rows[Host]):
    """The port `Hosts`."""

    stored = HOSTS

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(connection)
        self._now = now

    def get(self, name: HostName) -> tuple[Host, bool] | None:
        """The host, and whether its lease is live."""
        row = self.connection.execute(self._with_life().where(_C.id == name)).first()
        return None if row is None else (self.stored.struct_of(row[:-1]), bool(row[-1]))

    def lock(self, name: HostName) -> tuple[Host, bool] | None:
        """The host, locked, and whether its lease is live; a name that nobody bears yet is locked as well."""
        if self._postgresql:
            self.connection.execute(_NAME_LOCK, {"name": name})
        row = self.connection.execute(self._with_life().where(_C.id == name).with_for_update()).first()
        return None if row is None else (self.stored.struct_of(row[:-1]), bool(row[-1]))

    def put(self, host: Host, ttl: timedelta) -> Host:
        """Keep it, its lease valid for `ttl` from now."""
        self.upsert([host])
        self._prolong(host.id, host.lease, ttl)
        return host

    def beat(self, name: HostName, lease: int, ttl: timedelta) -> bool:
        """Prolong the lease if it is still this one."""
        return self._prolong(name, lease, ttl)

    def fence(self, name: HostName) -> None:
        """Bump the lease, and leave its end as it was: that is when the host was last heard of."""
        self.connection.execute(update(HOSTS.table).where(_C.id == name).values(lease=_C.lease + 1))

    def accept(self, name: HostName, *, accepting: bool) -> None:
        """Write the one column: a beat may be prolonging the lease."""
        self.connection.execute(update(HOSTS.table).where(_C.id == name).values(accepting=accepting))

    def hold(self, name: HostName, lease: int) -> None:
        """Lock the row's key: no successor registers before this transaction ends, and no beat waits (many writers starved it)."""
        if self.connection.scalar(_HELD, {"name": name}) != lease:
            message = f"another worker speaks for host {name} now"
            raise Ghost(message, host=name)

    def first_live(self) -> HostName | None:
        """By name, which all workers see alike."""
        name: HostName | None = self.connection.scalar(select(func.min(_C.id)).where(_C.lease_until > self._clock()))
        return name

    def all(self) -> list[tuple[Host, bool]]:
        """Every host, by name."""
        rows = self.connection.execute(_BY_SERVER_CLOCK if self._postgresql else self._with_life().order_by(_C.id))
        return [(self.stored.struct_of(row[:-1]), bool(row[-1])) for row in rows]

    def _with_life(self) -> Any:  # noqa: ANN401 - a Select of the table's columns and one more
        return select(*HOSTS.columns, (_C.lease_until > self._clock()).label("live"))

    def _prolong(self, name: HostName, lease: int, ttl: timedelta) -> bool:
        until = self._clock() + ttl if self._postgresql else literal(self._now + ttl, UtcTime())
        statement = update(HOSTS.table).where(_C.id == name, _C.lease == lease).values(lease_until=until)
        return self.connection.execute(statement).rowcount == 1

    def _clock(self) -> ColumnElement[Any]:
        return func.clock_timestamp() if self._postgresql else literal(self._now, UtcTime())

    @property
    def _postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"
