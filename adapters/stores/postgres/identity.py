"""Which cluster a database lives in, and the generations of its log (rule A5).

Transaction ids order the global log, and every cluster counts its own. So a log that has been restored elsewhere begins
a new generation there, and until somebody has said so (`flowledger db restored`) nobody may write to it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

_MAY_ASK: Final = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
_SYSTEM: Final = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
# Object ids are counted by the cluster and do not travel in a dump, unlike anything that we could store ourselves.
_OBJECTS: Final = (
    "SELECT oid::text || '/' || to_regclass(:table)::oid::text FROM pg_database WHERE datname = current_database()"
)
_NEWEST: Final = "SELECT id, system_identifier, objects FROM {s}.generations ORDER BY id DESC LIMIT 1"
_BEGIN: Final = (
    "INSERT INTO {s}.generations (id, system_identifier, objects, reason, actor, started_us) "
    "SELECT coalesce(max(id), 0) + 1, :system_identifier, :objects, :reason, :actor, "
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM {s}.generations RETURNING id"
)


class Identity(NamedTuple):
    """How a cluster is known: ``system_identifier`` where this role may ask for it, else ids of objects in it."""

    system_identifier: str | None
    objects: str

    def is_same(self, other: Identity) -> bool:
        """Whether both are of one cluster, by the best that both know."""
        if self.system_identifier is not None and other.system_identifier is not None:
            return self.system_identifier == other.system_identifier
        return self.objects == other.objects


class Generation(NamedTuple):
    """A time of the log in one cluster."""

    id: int
    identity: Identity


def here(connection: Connection, schema: str) -> Identity:
    """The identity of the cluster at the other end."""
    system: str | None = None
    if connection.scalar(text(_MAY_ASK)):
        system = connection.scalar(text(_SYSTEM))
    objects = connection.scalar(text(_OBJECTS), {"table": f"{schema}.generations"})
    return Identity(system, str(objects))


def newest(connection: Connection, schema: str) -> Generation | None:
    """The generation that holds."""
    row = connection.execute(text(_NEWEST.format(s=schema))).first()
    return None if row is None else Generation(row[0], Identity(row[1], row[2]))


def begin(connection: Connection, schema: str, *, reason: str, actor: str) -> int:
    """Begin the next generation in this cluster; its number. Within the caller's transaction."""
    identity = here(connection, schema)._asdict()
    found = connection.scalar(text(_BEGIN.format(s=schema)), {**identity, "reason": reason, "actor": actor})
    assert isinstance(found, int)
    return found
