"""`python -m infra.db.migrations.check`: struct = table = migrated database, or what differs."""

import sys
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from infra.db import tables
from infra.db.migrate import upgrade


def differences(connection: Connection) -> list[Any]:
    """Return what the migrated database would need to be the tables that the structs make; empty when they agree."""
    upgrade(connection)
    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _ours})
    return list(compare_metadata(context, tables.RUNS.table.metadata))


def _ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    return not (kind == "table" and name == "alembic_version")


def main() -> int:
    """Compare on a fresh SQLite database; the tests do the same on PostgreSQL."""
    with create_engine("sqlite://").begin() as connection:
        found = differences(connection)
    for difference in found:
        print(difference)  # noqa: T201 - what the command is for
    print("struct = table = migrated database" if not found else "a migration is missing")  # noqa: T201 - as above
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
