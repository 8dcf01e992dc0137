"""The first tables of the house, and the guard that no run or process ever goes backwards (PostgreSQL)."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

JSON_ = sa.JSON()
TIME = sa.DateTime(timezone=True)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOUBLE = sa.Float(53)

# A function for each table, which names its column: reading it out of to_jsonb(NEW) failed on rows whose JSON holds a NUL.
NEVER_BACKWARDS = """
CREATE FUNCTION {table}_never_backwards() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ranks jsonb := '{ranks}';
    before int := ranks ->> OLD.{column};
    after int := ranks ->> NEW.{column};
BEGIN
    IF NEW.attempt < OLD.attempt OR (NEW.attempt = OLD.attempt AND after < before)
        OR (before = 9 AND NEW.{column} <> OLD.{column}) THEN
        RAISE EXCEPTION '{table} % may not go from attempt %, % to attempt %, %',
            OLD.id, OLD.attempt, OLD.{column}, NEW.attempt, NEW.{column};
    END IF;
    RETURN NEW;
END $$
"""
TRIGGER = """
CREATE TRIGGER {table}_never_backwards BEFORE UPDATE OF {column}, attempt ON {table} FOR EACH ROW
WHEN (OLD.{column} IS DISTINCT FROM NEW.{column} OR OLD.attempt IS DISTINCT FROM NEW.attempt)
EXECUTE FUNCTION {table}_never_backwards()
"""
RUN_RANKS = '{"queued": 0, "starting": 1, "running": 2, "cancelling": 3, "succeeded": 9, "failed": 9, "cancelled": 9}'
PROCESS_RANKS = '{"waiting": 0, "placed": 0, "starting": 1, "alive": 2, "over": 9}'


def upgrade() -> None:
    """Create every table; every later change is a migration of its own."""
    op.create_table(
        "artifacts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("missing", sa.String(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("tags", JSON_, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    op.create_index("uq_artifacts_path", "artifacts", ["run_id", "type", "path"], unique=True)
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("metadata", JSON_, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index("uq_datasets_name", "datasets", ["name"], unique=True)
    op.create_table(
        "events",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("data", JSON_, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_place", "events", ["xid", "id"])
    op.create_index("ix_events_project", "events", ["project_id", "xid", "id"])
    op.create_table(
        "hosts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("slots", sa.BigInteger(), nullable=False),
        sa.Column("accepting", sa.Boolean(), nullable=False),
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("registered_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
    )
    op.create_table(
        "logs",
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("first_byte", sa.BigInteger(), nullable=False),
        sa.Column("end_byte", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("text_bytes", sa.BigInteger(), nullable=False),
        sa.Column("marks", JSON_, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "first_line", name=op.f("pk_logs")),
    )
    op.create_index("ix_logs_first_at", "logs", ["owner_id", "first_at"])
    op.create_table(
        "metrics",
        sa.Column("row", BIG, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("epoch", DOUBLE, nullable=True),
        sa.Column("value", DOUBLE, nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_metrics")),
    )
    op.create_index("ix_metrics_run", "metrics", ["run_id", "row"])
    op.create_table(
        "processes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("argv", JSON_, nullable=False),
        sa.Column("executor", sa.String(), nullable=True),
        sa.Column("resources", JSON_, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("log_offset", sa.BigInteger(), nullable=False),
        sa.Column("report_offset", sa.BigInteger(), nullable=False),
        sa.Column("stop_asked_at", TIME, nullable=True),
        sa.Column("stop_grace", DOUBLE, nullable=True),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("start_ticks", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
    )
    op.create_index(
        "ix_processes_living",
        "processes",
        ["phase", "host"],
        sqlite_where=sa.text("phase <> 'over'"),
        postgresql_where=sa.text("phase <> 'over'"),
    )
    op.create_index("uq_processes_owner", "processes", ["owner_id"], unique=True)
    op.create_table(
        "project_versions",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("changes", JSON_, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "number", name=op.f("pk_project_versions")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("objective", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("base_model", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("tags", JSON_, nullable=False),
        sa.Column("default_hyperparameters", JSON_, nullable=False),
        sa.Column("dataset_name", sa.String(), nullable=True),
        sa.Column("training_yaml_name", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("executor", sa.String(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("run_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_index("ix_projects_created_at", "projects", ["created_at", "id"])
    op.create_index("uq_projects_name", "projects", ["name"], unique=True)
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("progress", DOUBLE, nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("dataset", sa.String(), nullable=True),
        sa.Column("hyperparameters", JSON_, nullable=False),
        sa.Column("resources", JSON_, nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("labels", JSON_, nullable=False),
        sa.Column("start_command", sa.String(), nullable=False),
        sa.Column("config", JSON_, nullable=False),
        sa.Column("inputs", JSON_, nullable=False),
        sa.Column("metrics", JSON_, nullable=False),
        sa.Column("resumed_from", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("gpus", JSON_, nullable=False),
        sa.Column("gpu_utilization", DOUBLE, nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("failure", JSON_, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_created_at", "runs", ["project_id", "created_at", "id"])
    op.create_index("uq_runs_name", "runs", ["project_id", "name"], unique=True)
    op.create_table(
        "train_configs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("values", JSON_, nullable=False),
        sa.Column("uploaded_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_train_configs")),
    )
    op.create_index(
        "uq_train_configs_current",
        "train_configs",
        ["current"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_index("uq_train_configs_version", "train_configs", ["filename", "version"], unique=True)
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("stored_name", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_at", TIME, nullable=False),
        sa.Column("aborted_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_name", "uploads", ["name"])
    op.create_index(
        "uq_uploads_name",
        "uploads",
        ["dataset_id", "name"],
        unique=True,
        sqlite_where=sa.text("aborted_at IS NULL"),
        postgresql_where=sa.text("aborted_at IS NULL"),
    )

    if op.get_context().dialect.name == "postgresql":
        for table, column, ranks in (("runs", "status", RUN_RANKS), ("processes", "phase", PROCESS_RANKS)):
            for statement in (NEVER_BACKWARDS, TRIGGER):
                op.execute(statement.format(table=table, column=column, ranks=ranks))
