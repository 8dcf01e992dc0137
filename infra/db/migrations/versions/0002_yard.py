"""Hosts with GPUs, attempts and conditions of runs, sums of artifacts, and the answers that a retried request gets again."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

JSON_ = sa.JSON()
TIME = sa.DateTime(timezone=True)
DOUBLE = sa.Float(53)
UNSUMMED = sa.text("complete AND sha256 IS NULL")
EMPTY_LIST, EMPTY_OBJECT = sa.text("'[]'"), sa.text("'{}'")


def upgrade() -> None:
    """Add the tables and the columns; what ran before has had one attempt, watches nothing special and holds no GPU."""
    op.create_table(
        "gpus",
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("uuid", sa.String(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("utilization", DOUBLE, nullable=True),
        sa.Column("memory_used_bytes", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("set_aside", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("host", "number", name=op.f("pk_gpus")),
    )
    op.create_index("ix_gpus_holder", "gpus", ["holder"])
    op.create_table(
        "answers",
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_answers")),
    )
    op.create_index("ix_answers_created_at", "answers", ["created_at"])
    changes: list[tuple[str, list[sa.Column[Any]], list[str]]] = [
        ("hosts", [sa.Column("folder", sa.String(), nullable=False, server_default="")], []),
        (
            "processes",
            [
                sa.Column("folder", sa.String(), nullable=True),
                sa.Column("gpus", JSON_, nullable=False, server_default=EMPTY_LIST),
                sa.Column("not_before", TIME, nullable=True),
            ],
            ["waiting_for"],
        ),
        (
            "runs",
            [
                sa.Column("watch", JSON_, nullable=False, server_default=EMPTY_OBJECT),
                sa.Column("conditions", JSON_, nullable=False, server_default=EMPTY_LIST),
                sa.Column("attempts", JSON_, nullable=False, server_default=EMPTY_LIST),
            ],
            ["gpu_utilization"],
        ),
        ("projects", [sa.Column("watch", JSON_, nullable=False, server_default=EMPTY_OBJECT)], []),
        (
            "artifacts",
            [
                sa.Column("sha256", sa.String(), nullable=True),
                sa.Column("manifest", JSON_, nullable=False, server_default=EMPTY_LIST),
            ],
            [],
        ),
    ]
    for table, added, dropped in changes:
        for column in added:
            op.add_column(table, column)
        for name in dropped:
            op.drop_column(table, name)
    op.create_index("ix_artifacts_unsummed", "artifacts", ["created_at"], sqlite_where=UNSUMMED, postgresql_where=UNSUMMED)
