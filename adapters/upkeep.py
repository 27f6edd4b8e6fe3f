"""Looking after the database: `flowledger db upgrade`, `status` and `restored`, whatever the store."""

from __future__ import annotations

from flowledger.events.errors import InputError, NotSupported

from .history import missing_file
from .settings import Settings
from .stores import open_store
from .stores.standing import Standing

__all__ = ["Standing", "restored", "status", "upgrade"]

_POSTGRES = "postgresql+psycopg://"


def status(settings: Settings) -> Standing:
    """How the database of these settings stands; changes nothing.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    if _is_postgres(settings):
        from .stores.postgres import locate, upgrading  # noqa: PLC0415 - Alembic is loaded only by who upgrades

        return upgrading.standing(locate(settings.database_url, schema=settings.database_schema))
    path = missing_file(settings.database_url)
    if path is not None:
        return Standing(where=str(path), version=0, needed=_embedded_version())
    return _opened(settings)


def upgrade(settings: Settings, *, actor: str, make_roles: bool = True) -> Standing:
    """Bring the database to what this release needs, making it where there is none; how it stands then.

    Raises:
        SchemaTooNew: it is of a newer release.
        Refused: engines must be stopped first.
        StoreUnavailable: it cannot be reached or written.
    """
    if _is_postgres(settings):
        from .stores.postgres import locate, upgrading  # noqa: PLC0415

        location = locate(settings.database_url, schema=settings.database_schema)
        return upgrading.upgrade(location, actor=actor, make_roles=make_roles)
    return _opened(settings)


def restored(settings: Settings, *, reason: str, actor: str) -> Standing:
    """Say that the log has been restored into the cluster it is in now (A5); how it stands then.

    Raises:
        InputError: there is no reason.
        NotSupported: only Postgres has clusters.
        Refused: somebody is at work on the log.
    """
    if not reason.strip():
        raise InputError("a restore needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
    if not _is_postgres(settings):
        raise NotSupported("only a log in Postgres can change its cluster; a file is copied back and goes on")
    from .stores.postgres import locate, upgrading  # noqa: PLC0415

    location = locate(settings.database_url, schema=settings.database_schema)
    return upgrading.restored(location, reason=reason, actor=actor)


def why_not(found: Standing) -> str:
    """Why no engine of this release may start on a database."""
    if found.version != found.needed:
        release = "an older" if found.version < found.needed else "a newer"
        return f"its schema is {found.version or 'not there'}, of {release} release; this one needs {found.needed}"
    return "it was restored from another cluster"


def remedy(found: Standing) -> str:
    """What to do about that."""
    if found.version < found.needed:
        return "`flowledger db upgrade` makes it ready"
    if found.version > found.needed:
        return "upgrade flowledger here"
    return "`flowledger db restored --reason …` says so"


def _opened(settings: Settings) -> Standing:
    """An embedded store makes and checks its database when it is opened."""
    store = open_store(settings.database_url, schema=settings.database_schema)
    where = store.describe()
    store.close()
    version = _embedded_version()
    return Standing(where=where, version=version, needed=version, generation=1)


def _embedded_version() -> int:
    from .stores.sqlite_schema import SCHEMA_VERSION  # noqa: PLC0415 - who has Postgres loads nothing of SQLite

    return SCHEMA_VERSION


def _is_postgres(settings: Settings) -> bool:
    return settings.database_url.startswith(_POSTGRES)
