"""Submissions in the transaction of a caller, on SQLite: through SQLAlchemy's connection to the file of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from flowledger.events.store import Append, AppendResult

from .outbox import ANOTHER_DATABASE, NO_TRANSACTION, create, through_sqlalchemy, unfit


def append_through(path: Path, connection: Any, request: Append) -> AppendResult:
    """See `events.store.Store.append_through`; ``path`` is the log's file."""
    if not isinstance(connection, Connection):
        raise unfit(
            connection, "it is not SQLAlchemy's",
            "for a file: create_engine('sqlite:///…').begin(); of a Session: session.connection()",
        )  # fmt: skip
    if connection.dialect.name != "sqlite" or not _is_to(path, connection):
        raise unfit(connection, *ANOTHER_DATABASE)
    if not _transacts(connection.connection.dbapi_connection):
        raise unfit(connection, *NO_TRANSACTION)
    return create(through_sqlalchemy(connection), request)


def _is_to(path: Path, connection: Connection) -> bool:
    files = [row[2] for row in connection.execute(text("PRAGMA database_list")) if row[1] == "main"]
    return bool(files and files[0]) and Path(files[0]).samefile(path)


def _transacts(dbapi: Any) -> bool:
    """Whether what is written now can still be rolled back: a transaction is open, or the driver will begin one."""
    if dbapi.in_transaction:
        return True
    return dbapi.isolation_level is not None and getattr(dbapi, "autocommit", None) is not True
