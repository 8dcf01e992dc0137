"""What each holder of a token asked of each model, as rows that are added to."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from domain.deployments.usage import Usage
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import USAGE

_C = USAGE.c
_COUNTED = ("requests", "failed", "prompt_tokens", "completion_tokens")
_SINCE = fixed(select(*USAGE.columns).where(_C.day >= bindparam("day")).order_by(_C.day, _C.holder, _C.model))


class UsageRows(Rows[Usage]):
    """The port `Usages`."""

    stored = USAGE

    def add(self, counts: Sequence[Usage]) -> None:
        """Add these, row by row in the order given."""
        for each in counts:
            self.connection.execute(_addition(self.connection.dialect.name), self.stored.row(each))

    def since(self, day: str) -> list[Usage]:
        """From this day on."""
        return self.many(_SINCE, day=day)


@lru_cache
def _addition(dialect: str) -> Any:  # noqa: ANN401 - an Insert of either dialect
    statement = (postgresql_insert if dialect == "postgresql" else sqlite_insert)(USAGE.table)
    added = {name: _C[name] + statement.excluded[name] for name in _COUNTED}
    return fixed(statement.on_conflict_do_update(index_elements=list(USAGE.table.primary_key), set_=added))
