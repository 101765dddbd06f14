"""Alembic's environment: runs on the connection that `daemon.database` hands over."""

from alembic import context

from daemon.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
