"""May this process use this database? Asked once, when the store is opened (rule A5, schema versions)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from flowledger.events.errors import ClusterChanged, SchemaTooNew, SchemaTooOld

from . import identity
from .location import Location
from .schema import SCHEMA_VERSION

_TABLE: Final = "SELECT to_regclass(:table) IS NOT NULL"
_VERSION: Final = "SELECT version_num FROM {s}.alembic_version"


def version(connection: Connection, schema: str) -> int:
    """The schema's version; 0 where there is none yet."""
    if not connection.scalar(text(_TABLE), {"table": f"{schema}.alembic_version"}):
        return 0
    found = connection.scalar(text(_VERSION.format(s=schema)))
    return int(found) if found else 0


def check(connection: Connection, location: Location) -> None:
    """Refuse a database of another release, and one that has been restored into another cluster.

    Raises:
        SchemaTooNew, SchemaTooOld, ClusterChanged
    """
    found, where = version(connection, location.schema), location.describe()
    if not found:
        raise SchemaTooOld(
            f"{where}: there is no log yet", hint="make it with `flowledger db upgrade`, as a role that may"
        )
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(f"{where} has schema {found}, this release knows schemas up to {SCHEMA_VERSION}")
    if found < SCHEMA_VERSION:
        raise SchemaTooOld(f"{where} has schema {found}, this release needs schema {SCHEMA_VERSION}")
    generation = identity.newest(connection, location.schema)
    if generation is None or not generation.identity.is_same(identity.here(connection, location.schema)):
        raise ClusterChanged(f"{where}: this log was written in another database cluster than the one it is in now")
