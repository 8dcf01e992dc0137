"""Processes live for several kinds of owners; those of before live for runs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("processes", sa.Column("owner_kind", sa.String(), nullable=False, server_default="run"))
