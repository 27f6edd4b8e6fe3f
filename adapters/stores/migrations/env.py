"""What Alembic asks: on which connection, in which schema. `postgres.upgrading` has prepared both."""

from __future__ import annotations

from alembic import context

from flowledger.adapters.stores.schema import POSTGRES

_given = context.config.attributes

context.configure(
    connection=_given["connection"],
    target_metadata=POSTGRES,
    version_table_schema=_given["schema"],
    transactional_ddl=False,  # the caller has begun the transaction, and commits it with all that belongs to it
)
context.run_migrations()
