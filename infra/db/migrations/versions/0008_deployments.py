"""Deployments, and processes that drain before they are asked to stop, are not killed against somebody's will, and prefer a GPU."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

JSON_ = sa.JSON()
TIME = sa.DateTime(timezone=True)
DOUBLE = sa.Float(53)
HOLDS_PORT = sa.text("port IS NOT NULL AND status IN ('starting', 'running', 'stopping')")
# As for runs and processes, in 0001: whoever writes, no deployment goes backwards within one attempt, and none rises from the dead.
NEVER_BACKWARDS = """
CREATE FUNCTION deployments_never_backwards() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ranks jsonb := '{"queued": 0, "starting": 1, "running": 2, "stopping": 3, "stopped": 9, "failed": 9}';
    before int := ranks ->> OLD.status;
    after int := ranks ->> NEW.status;
BEGIN
    IF NEW.attempt < OLD.attempt OR (NEW.attempt = OLD.attempt AND after < before)
        OR (before = 9 AND NEW.status <> OLD.status) THEN
        RAISE EXCEPTION 'deployments % may not go from attempt %, % to attempt %, %',
            OLD.id, OLD.attempt, OLD.status, NEW.attempt, NEW.status;
    END IF;
    RETURN NEW;
END $$
"""
TRIGGER = """
CREATE TRIGGER deployments_never_backwards BEFORE UPDATE OF status, attempt ON deployments FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.attempt IS DISTINCT FROM NEW.attempt)
EXECUTE FUNCTION deployments_never_backwards()
"""


def upgrade() -> None:
    """Add the table and the columns; what was asked to stop before is killed after its grace, as it was then."""
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("model_path", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("tags", JSON_, nullable=False),
        sa.Column("extra_args", JSON_, nullable=False),
        sa.Column("health_path", sa.String(), nullable=False),
        sa.Column("served_names", JSON_, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("release", JSON_, nullable=True),
        sa.Column("resources", JSON_, nullable=False),
        sa.Column("preferred_gpu", sa.BigInteger(), nullable=True),
        sa.Column("restart", sa.String(), nullable=False),
        sa.Column("follow", sa.Boolean(), nullable=False),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("port", sa.BigInteger(), nullable=True),
        sa.Column("gpus", JSON_, nullable=False),
        sa.Column("command", sa.String(), nullable=True),
        sa.Column("health_ok", sa.Boolean(), nullable=True),
        sa.Column("health", JSON_, nullable=False),
        sa.Column("figures", JSON_, nullable=False),
        sa.Column("conditions", JSON_, nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("healthy_at", TIME, nullable=True),
        sa.Column("condemned", JSON_, nullable=True),
        sa.Column("misfortunes", sa.BigInteger(), nullable=False),
        sa.Column("restarts", sa.BigInteger(), nullable=False),
        sa.Column("attempts", JSON_, nullable=False),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("failure", JSON_, nullable=True),
        sa.Column("replaces", sa.String(), nullable=True),
        sa.Column("replaced_by", sa.String(), nullable=True),
        sa.Column("removed_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("stopped_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index(
        "uq_deployments_port", "deployments", ["host", "port"], unique=True, sqlite_where=HOLDS_PORT, postgresql_where=HOLDS_PORT
    )
    op.create_index("ix_deployments_created_at", "deployments", ["created_at", "id"])
    op.create_index("ix_deployments_status", "deployments", ["status"])
    op.create_index("ix_deployments_replaces", "deployments", ["replaces"])
    for column in (
        sa.Column("preferred_gpu", sa.BigInteger(), nullable=True),
        sa.Column("stop_drain", DOUBLE, nullable=False, server_default="0"),
        sa.Column("stop_kill", sa.Boolean(), nullable=False, server_default=sa.true()),
    ):
        op.add_column("processes", column)
    if op.get_context().dialect.name == "postgresql":
        op.execute(NEVER_BACKWARDS)
        op.execute(TRIGGER)
