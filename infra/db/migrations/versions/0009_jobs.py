"""Jobs on the files of datasets, by which of them a file was made, and which of them a project demands."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

JSON_ = sa.JSON()
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table and the columns; what was uploaded before, nobody has looked at."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.Float(53), nullable=False),
        sa.Column("policy_id", sa.String(), nullable=False),
        sa.Column("policy_revision", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("bad_lines", sa.String(), nullable=False),
        sa.Column("sources", JSON_, nullable=False),
        sa.Column("done", JSON_, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("failure", JSON_, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_dataset", "jobs", ["dataset_id", "created_at", "id"])
    op.add_column("projects", sa.Column("deid_policy", sa.String(), nullable=True))
    op.add_column("uploads", sa.Column("deidentified", JSON_, nullable=True))
