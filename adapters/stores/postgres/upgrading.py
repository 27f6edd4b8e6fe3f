"""Making, upgrading and looking after a database: what `flowledger db` does on Postgres (rule A5).

An upgrade is one transaction under a lock: two never run at once, and one that is killed has not happened.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from flowledger.adapters.stores import migrations
from flowledger.adapters.stores.standing import Standing
from flowledger.events.errors import Refused, SchemaTooNew, SchemaTooOld, StoreError

from . import identity, opening, roles
from .connecting import Lost
from .database import PostgresDatabase
from .location import Location, views_schema
from .schema import METADATA, SCHEMA_VERSION

#: Older servers lack what the global log stands on, or are past their end of life.
LEAST_SERVER: Final = 140_000
#: Who was seen within so many seconds may still be at work.
ALIVE_S: Final = 20

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"
_SCHEMA_OWNER: Final = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :schema"
_ALIVE: Final = (
    "SELECT host || ' pid ' || pid || ' (' || app || ')' FROM {s}.owners "
    "WHERE last_seen_us > extract(epoch FROM clock_timestamp()) * 1000000 - :alive_us ORDER BY 1"
)


def standing(location: Location) -> Standing:
    """How the database stands, whatever its version.

    Raises:
        StoreUnavailable
    """
    with _connected(location) as connection:
        return _standing(connection, location)


def upgrade(location: Location, *, actor: str, make_roles: bool = True) -> Standing:
    """Bring the schema to this release's version, making it and its roles where they are missing; how it stands then.

    Raises:
        SchemaTooNew: it is of a newer release.
        Refused: a migration needs the engines stopped, and some are alive.
        StoreUnavailable: the server cannot be reached, or another upgrade is under way.
        StoreError: the server is too old, or its encoding is not UTF-8.
    """
    with _connected(location) as connection:
        _check_server(connection, location)
        found = _locked_version(connection, location)
        if make_roles:
            roles.make(connection, location.schema)
        _make_schema(connection, location.schema)
        _make_schema(connection, views_schema(location.schema), of=location.schema)
        _become_owner(connection, location.schema)
        if found < SCHEMA_VERSION:
            _migrate(connection, location, found)
        if identity.newest(connection, location.schema) is None:
            identity.begin(connection, location.schema, reason="made", actor=actor)
        roles.grant(connection, location.schema)
        _grant_views(connection, location.schema)
        return _standing(connection, location)


def restored(location: Location, *, reason: str, actor: str) -> Standing:
    """Say that the log has been restored here (A5): begin a new generation. No event is touched.

    Raises:
        SchemaTooOld, SchemaTooNew: it must be of this release.
        Refused: somebody is at work on it.
    """
    with _connected(location) as connection:
        if _locked_version(connection, location) < SCHEMA_VERSION:
            raise SchemaTooOld(f"{location.describe()} is not of this release")
        _become_owner(connection, location.schema)
        # After what is being appended, before what will be: no event of the old generation comes after the new one.
        connection.execute(text(f"LOCK TABLE {location.schema}.events IN SHARE ROW EXCLUSIVE MODE"))
        _refuse_if_alive(connection, location, "a new generation begins")
        identity.begin(connection, location.schema, reason=reason, actor=actor)
        return _standing(connection, location)


@contextmanager
def _connected(location: Location) -> Generator[Connection]:
    """A connection in one transaction, which may take its time."""
    database = PostgresDatabase(replace(location, statement_timeout_s=86_400.0))
    try:
        with database.guarded(), database.connecting() as connection:
            transacted = connection.execution_options(isolation_level="READ COMMITTED")
            with transacted.begin():
                yield transacted
    except Lost as lost:
        raise database.unavailable(lost.error) from lost
    finally:
        database.dispose()


def _check_server(connection: Connection, location: Location) -> None:
    release = int(str(connection.scalar(text("SHOW server_version_num"))))
    encoding = str(connection.scalar(text("SHOW server_encoding")))
    if release < LEAST_SERVER:
        raise StoreError(f"{location.describe()}: the server is PostgreSQL {release // 10_000}", hint="14 is the least")
    if encoding != "UTF8":
        raise StoreError(
            f"{location.describe()}: the database's encoding is {encoding}", hint="make one with ENCODING 'UTF8'"
        )


def _locked_version(connection: Connection, location: Location) -> int:
    """The version, which nobody else changes before we have finished."""
    connection.execute(text(_LOCK), {"name": f"flowledger upgrade {location.schema}"})
    found = opening.version(connection, location.schema)
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{location.describe()} has schema {found}, this release knows schemas up to {SCHEMA_VERSION}"
        )
    return found


def _make_schema(connection: Connection, schema: str, *, of: str | None = None) -> None:
    """Make a schema where there is none; ``of`` whose log it is made for, if it is not the log's own."""
    if connection.scalar(text(_SCHEMA_OWNER), {"schema": schema}) is not None:
        return
    owner = roles.name(of or schema, "owner")
    authorization = f" AUTHORIZATION {owner}" if roles.may_become(connection, owner) else ""
    connection.execute(text(f"CREATE SCHEMA {schema}{authorization}"))


def _become_owner(connection: Connection, schema: str) -> None:
    """Whoever upgrades, everything in the schema belongs to the schema's owner."""
    owner = str(connection.scalar(text(_SCHEMA_OWNER), {"schema": schema}))
    if roles.may_become(connection, owner):
        quoted = connection.dialect.identifier_preparer.quote(owner)
        connection.execute(text(f"SET LOCAL ROLE {quoted}"))


def _grant_views(connection: Connection, schema: str) -> None:
    """As who connected: the owner of the log need not be able to act as the projector."""
    connection.execute(text("RESET ROLE"))
    roles.grant_views(connection, schema, views_schema(schema))


def _migrate(connection: Connection, location: Location, found: int) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, schema=location.schema, metadata=METADATA)
    pending = [
        script for script in ScriptDirectory.from_config(config).walk_revisions() if int(script.revision) > found
    ]
    if found and any(script.module.ENGINES_MUST_STOP for script in pending):
        _refuse_if_alive(connection, location, "the schema is changed")
    connection.execute(text(f"SET LOCAL search_path TO {location.schema}"))
    command.upgrade(config, "head")
    connection.execute(text("SET LOCAL search_path TO DEFAULT"))


def _refuse_if_alive(connection: Connection, location: Location, what: str) -> None:
    alive = _alive(connection, location.schema)
    if alive:
        raise Refused(
            f"{location.describe()}: processes are at work on it: {', '.join(alive)}",
            hint=f"stop them before {what}; one that was killed counts for {ALIVE_S} s",
        )


def _alive(connection: Connection, schema: str) -> list[str]:
    found = connection.scalars(text(_ALIVE.format(s=schema)), {"alive_us": ALIVE_S * 1_000_000})
    return [str(owner) for owner in found]


def _standing(connection: Connection, location: Location) -> Standing:
    schema = location.schema
    found = Standing(
        where=location.describe(),
        version=opening.version(connection, schema),
        needed=SCHEMA_VERSION,
        missing_roles=roles.missing(connection, schema),
    )
    if not found.version:
        return found
    generation = identity.newest(connection, schema)
    return replace(
        found,
        generation=0 if generation is None else generation.id,
        same_cluster=generation is not None and generation.identity.is_same(identity.here(connection, schema)),
        alive=_alive(connection, schema),
    )
