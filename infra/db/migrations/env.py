"""Alembic's door: migrations run on the connection, and inside the transaction, of whoever asked for them."""

from alembic import context

from infra.db.tables import RUNS

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=RUNS.table.metadata, render_as_batch=True, transactional_ddl=False)
context.run_migrations()
