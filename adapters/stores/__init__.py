"""Stores behind the one protocol (`events.store`), opened by URL.

memory://                    a log that ends with the process; memory://NAME is shared within the process
sqlite:///flowledger.db      a file, relative to the working directory; made on first use
sqlite:////var/lib/x.db      a file, absolute
postgresql+psycopg://…       a database, made with `flowledger db upgrade`; options: `postgres.location`
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from flowledger.events.errors import InputError
from flowledger.events.store import Store

if TYPE_CHECKING:
    from .memory import MemoryStore

KNOWN = "memory://, sqlite:///PATH, postgresql+psycopg://…"

_shared: dict[str, MemoryStore] = {}
_shared_lock = Lock()


def open_store(url: str, *, schema: str | None = None) -> Store:
    """Open the store that ``url`` names. An embedded one makes its database where there is none yet.

    ``schema`` is the setting ``database_schema``: where in a Postgres database the log is.

    Raises:
        InputError: the URL is not one of those above, or an option does not fit.
        StoreUnavailable: the database cannot be reached, the file cannot be opened or written.
        SchemaTooNew, SchemaTooOld: the database was made by another release.
        ClusterChanged: the log was restored into another cluster, and nobody has said so.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "postgresql+psycopg":
        from .postgres import PostgresStore  # noqa: PLC0415 - SQLAlchemy and psycopg are loaded only by who needs them

        return PostgresStore.from_url(url, schema=schema)
    if schema is not None:
        raise InputError(
            f"database_schema is set to {schema!r}, but {_without_password(url)} has no schemas",
            field="database_schema", given=schema, hint="leave it out, or name a Postgres database",
        )  # fmt: skip
    if separator and scheme == "memory":
        return _memory(rest)
    if separator and scheme == "sqlite":
        from .sqlite import SqliteStore  # noqa: PLC0415 - SQLAlchemy is loaded only by who needs it

        return SqliteStore.from_url(url)
    raise InputError(
        f"{_without_password(url)!r} does not name a store",
        field="database_url",
        expected=KNOWN,
        given=_without_password(url),
        hint=f"known are {KNOWN}",
    )


def _memory(name: str) -> MemoryStore:
    from .memory import MemoryStore  # noqa: PLC0415 - each process loads its own store

    if not name:
        return MemoryStore()
    with _shared_lock:
        if name not in _shared:
            _shared[name] = MemoryStore(name)
        return _shared[name]


def forget(name: str) -> None:
    """Let go of the log ``memory://NAME``; who has it open keeps it."""
    with _shared_lock:
        _shared.pop(name, None)


def _without_password(url: str) -> str:
    """The URL as it may be shown: what stands before an ``@`` may hold a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else url
