"""Reports on data files, by content: the same bytes are not inspected twice."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table; what was uploaded before is inspected when it is first asked for."""
    op.create_table(
        "reports",
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("rules", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("content", "task_type", "rules", name=op.f("pk_reports")),
    )
