"""The history of datasets, and which bytes the runs have pinned."""

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True)
USABLE = sa.text("removed_in IS NULL")
UPLOADS = sa.text(
    "SELECT u.id, u.dataset_id, u.name, u.uploaded_at, u.aborted_at, "
    "(SELECT min(e.actor) FROM events e WHERE e.subject = u.id AND e.kind = 'upload.added') AS added_by, "
    "(SELECT min(e.actor) FROM events e WHERE e.subject = u.id AND e.kind = 'upload.aborted') AS removed_by FROM uploads u"
)

NUMBERED = {
    "added": "UPDATE uploads SET added_in = :number WHERE id = :upload",
    "removed": "UPDATE uploads SET removed_in = :number WHERE id = :upload",
}
TOLD = {
    "added": "INSERT INTO dataset_versions (dataset_id, number, change, name, upload_id, at, by) "
    "SELECT dataset_id, :number, 'added', name, id, uploaded_at, :by FROM uploads WHERE id = :upload",
    "removed": "INSERT INTO dataset_versions (dataset_id, number, change, name, upload_id, at, by) "
    "SELECT dataset_id, :number, 'removed', name, id, aborted_at, :by FROM uploads WHERE id = :upload",
}


def upgrade() -> None:
    """Add the tables and columns, and tell the history of the files that are there: each was added once, some were taken back."""
    op.create_table(
        "dataset_versions",
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("upload_id", sa.String(), nullable=False),
        sa.Column("replaces", sa.String(), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "number", name=op.f("pk_dataset_versions")),
    )
    op.create_table(
        "pins", sa.Column("stored_name", sa.String(), nullable=False), sa.PrimaryKeyConstraint("stored_name", name=op.f("pk_pins"))
    )
    op.add_column("datasets", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("added_in", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("uploads", sa.Column("removed_in", sa.BigInteger(), nullable=True))
    _tell_history()
    _pin_inputs()
    op.drop_index("uq_uploads_name", "uploads")
    op.create_index("uq_uploads_name", "uploads", ["dataset_id", "name"], unique=True, sqlite_where=USABLE, postgresql_where=USABLE)
    op.create_index("ix_uploads_stored_name", "uploads", ["stored_name"])


def _tell_history() -> None:
    steps: list[tuple[Any, ...]] = []
    for upload in op.get_bind().execute(UPLOADS):
        steps.append((upload.uploaded_at, "added", upload.id, upload.dataset_id, upload.added_by))
        if upload.aborted_at is not None:
            steps.append((upload.aborted_at, "removed", upload.id, upload.dataset_id, upload.removed_by))
    newest: Counter[str] = Counter()
    for _, change, upload, dataset, by in sorted(steps, key=lambda step: step[:3]):
        newest[dataset] += 1
        _execute(NUMBERED[change], number=newest[dataset], upload=upload)
        _execute(TOLD[change], number=newest[dataset], upload=upload, by=by or "unknown")
        _execute("UPDATE datasets SET version = :number WHERE id = :dataset", number=newest[dataset], dataset=dataset)


def _pin_inputs() -> None:
    inputs = op.get_bind().execute(sa.text("SELECT DISTINCT CAST(inputs AS TEXT) FROM runs"))
    pinned = {each["path"] for (row,) in inputs for each in json.loads(row).values() if each.get("sha256")}
    for stored_name in sorted(pinned):
        _execute("INSERT INTO pins (stored_name) VALUES (:stored_name)", stored_name=stored_name)


def _execute(statement: str, **values: str | int) -> None:
    op.get_bind().execute(sa.text(statement), values)
