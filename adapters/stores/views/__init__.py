"""Where views are kept: beside the log, never in its way.

memory      tables in memory, for as long as the log itself
SQLite      a file beside the log's, ``flowledger.db-views``: a SQLite file has one writer at a time, and that is to be
            the run. Nothing in it is needed: it may be deleted, and is made anew from the log
Postgres    a schema beside the log's, ``flowledger_views``, in which the projector's role may make tables
"""

from __future__ import annotations

from sys import modules

from flowledger.events.errors import InternalError
from flowledger.events.store import Store
from flowledger.projections.view_store import ViewStore


def views_of(store: Store) -> ViewStore:
    """The views of a log. Who opens them closes them.

    Raises:
        StoreUnavailable: they cannot be opened.
        SchemaTooOld: in Postgres `flowledger db upgrade` has not made a place for them yet.
    """
    found = _in_postgres(store) or _in_file(store) or _in_memory(store)
    if found is None:
        raise InternalError(f"{type(store).__name__} has no place for views")
    return found


# Each is loaded by who has a store of its kind, which is there only where its module is: a process on Postgres loads
# nothing of SQLite, nor the reverse.


def _in_postgres(store: Store) -> ViewStore | None:
    if not _is_loaded("postgres.store"):
        return None
    from flowledger.adapters.stores.postgres import PostgresStore  # noqa: PLC0415

    if not isinstance(store, PostgresStore):
        return None
    from .postgres import PostgresViews  # noqa: PLC0415

    return PostgresViews(store.location)


def _in_file(store: Store) -> ViewStore | None:
    if not _is_loaded("sqlite"):
        return None
    from flowledger.adapters.stores.sqlite import SqliteStore  # noqa: PLC0415

    if not isinstance(store, SqliteStore):
        return None
    from .sqlite import SqliteViews  # noqa: PLC0415

    return SqliteViews(store.path.with_name(f"{store.path.name}-views"))


def _in_memory(store: Store) -> ViewStore | None:
    if not _is_loaded("memory"):
        return None
    from flowledger.adapters.stores.memory import MemoryStore  # noqa: PLC0415

    if not isinstance(store, MemoryStore):
        return None
    from .sqlite import SqliteViews  # noqa: PLC0415

    with store.views_lock:
        if store.views is None:
            store.views = SqliteViews(None)
        assert isinstance(store.views, SqliteViews)
        return store.views


def _is_loaded(name: str) -> bool:
    return f"flowledger.adapters.stores.{name}" in modules
