"""What Alembic asks: on which connection, in which schema, to which tables. `postgres.upgrading` has prepared them."""

from __future__ import annotations

from alembic import context

_given = context.config.attributes

context.configure(
    connection=_given["connection"],
    target_metadata=_given["metadata"],
    version_table_schema=_given["schema"],
    transactional_ddl=False,  # the caller has begun the transaction, and commits it with all that belongs to it
)
context.run_migrations()
