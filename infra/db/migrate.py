"""Bringing the tables up to date when a server starts: Alembic, by one process at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('tuneyard.migrate'))")


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the caller's transaction; others wait for it."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
    command.upgrade(config(connection), "head")


def config(connection: Connection) -> Config:
    """Return Alembic's configuration for this connection: there is no ini file."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made
