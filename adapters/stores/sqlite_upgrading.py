"""Bringing a SQLite file of an earlier release to the schema of this one.

Embedded files are upgraded when they are opened: there is nobody to call for it. So every step only adds (tables,
columns with a default, indexes); what an engine of the release before is writing meanwhile stays right. Tables that are
new need no step: they are made from the schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection, select, update

from flowledger.events.errors import SchemaTooNew, SchemaTooOld

from .sqlite_schema import METADATA, SCHEMA_VERSION, meta, streams

#: By the version that a step leads to: what changes in tables that are there already.
STEPS: Mapping[int, Sequence[str]] = {
    2: ("DROP INDEX streams_jobs", "DROP INDEX streams_timers"),
    # Its key has changed. Nothing is lost but how far bodies say they have got.
    6: ("DROP TABLE IF EXISTS attempt_claims",),
    7: ("ALTER TABLE owners ADD COLUMN asks TEXT",),
}


def bring_up_to_date(connection: Connection, path: Path) -> None:
    """Check the schema's version, and upgrade an older one in one transaction.

    Raises:
        SchemaTooNew, SchemaTooOld: this release cannot work with the file.
    """
    if _version(connection, path) == SCHEMA_VERSION:
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        found = _version(connection, path)  # another process may have been first
        for version in range(found + 1, SCHEMA_VERSION + 1):
            for statement in STEPS.get(version, ()):
                connection.exec_driver_sql(statement)
        METADATA.create_all(connection)
        for index in streams.indexes:
            index.create(connection, checkfirst=True)
        connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(SCHEMA_VERSION)))
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise


def _version(connection: Connection, path: Path) -> int:
    value = connection.scalar(select(meta.c.value).where(meta.c.name == "schema_version"))
    found = int(value) if value and value.isdigit() else 0
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(f"database {path} has schema {found}, this release knows schemas up to {SCHEMA_VERSION}")
    if found < 1:
        raise SchemaTooOld(f"database {path} has schema {value!r}, this release needs schema {SCHEMA_VERSION}")
    return found
