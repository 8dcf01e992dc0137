"""Which runs went on from a run is found by an index of those few that were resumed at all."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

RESUMED = sa.text("resumed_from IS NOT NULL")


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_runs_resumed_from", "runs", ["resumed_from"], sqlite_where=RESUMED, postgresql_where=RESUMED)
