"""Where views are kept: beside the log, never in its way.

memory      tables in memory, for as long as the log itself
SQLite      a file beside the log's, ``flowledger.db-views``: a SQLite file has one writer at a time, and that is to be
            the run. Nothing in it is needed: it may be deleted, and is made anew from the log
Postgres    a schema beside the log's, ``flowledger_views``, in which the projector's role may make tables
"""

from __future__ import annotations

from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events.errors import InternalError
from flowledger.events.store import Store
from flowledger.projections.view_store import ViewStore


def views_of(store: Store) -> ViewStore:
    """The views of a log. Who opens them closes them.

    Raises:
        StoreUnavailable: they cannot be opened.
        SchemaTooOld: in Postgres `flowledger db upgrade` has not made a place for them yet.
    """
    from .sqlite import SqliteViews  # noqa: PLC0415 - loaded by who looks at views

    if isinstance(store, MemoryStore):
        with store.views_lock:
            if store.views is None:
                store.views = SqliteViews(None)
            assert isinstance(store.views, SqliteViews)
            return store.views
    from flowledger.adapters.stores.sqlite import SqliteStore  # noqa: PLC0415

    if isinstance(store, SqliteStore):
        return SqliteViews(store.path.with_name(f"{store.path.name}-views"))
    from flowledger.adapters.stores.postgres import PostgresStore  # noqa: PLC0415

    from .postgres import PostgresViews  # noqa: PLC0415

    if isinstance(store, PostgresStore):
        return PostgresViews(store.location)
    raise InternalError(f"{type(store).__name__} has no place for views")
