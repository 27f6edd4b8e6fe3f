"""Submissions in the transaction of a caller, on Postgres: through SQLAlchemy with any driver, or through psycopg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection

from flowledger.adapters.stores.outbox import (
    ANOTHER_DATABASE,
    NO_TRANSACTION,
    Execute,
    create,
    named_for_psycopg,
    through_sqlalchemy,
    unfit,
)
from flowledger.events.store import Append, AppendResult

from .connecting import GuardedConnection
from .database import PostgresDatabase
from .wire import stored

_EXISTS: Final = "SELECT to_regclass(:log) IS NOT NULL"
# What no other log has: where and when its present generation began (A5).
_LOG: Final = "SELECT id, objects, started_us FROM {s}.generations ORDER BY id DESC LIMIT 1"


class PostgresOutbox:
    """See `events.store.Store.append_through`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def append_through(self, connection: Any, request: Append) -> AppendResult:
        """See `Store.append_through`."""
        execute = _execute(connection)
        schema = self._database.schema
        if not execute(_EXISTS, {"log": f"{schema}.generations"})[0][0]:
            raise unfit(connection, *ANOTHER_DATABASE)
        if [tuple(row) for row in execute(_LOG.format(s=schema), {})] != self._log:
            raise unfit(connection, *ANOTHER_DATABASE)
        return create(execute, request, prefix=f"{schema}.", generations=True, stored=stored)

    @cached_property
    def _log(self) -> list[tuple[Any, ...]]:
        statement = _LOG.format(s=self._database.schema)

        def read(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            return connection.execute(statement, None).fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue]

        return self._database.reading(read)


def _execute(connection: Any) -> Execute:
    if isinstance(connection, Connection):
        if connection.dialect.name != "postgresql":
            raise unfit(connection, *ANOTHER_DATABASE)
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            raise unfit(connection, *NO_TRANSACTION)
        return through_sqlalchemy(connection)
    if _is_psycopgs(connection):
        if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
            raise unfit(connection, *NO_TRANSACTION)
        return _through_psycopg(connection)
    raise unfit(
        connection, "it is neither SQLAlchemy's nor psycopg's",
        "of a Session: session.connection(); of an AsyncConnection: `await it.run_sync(…)` hands out a sync one",
    )  # fmt: skip


def _is_psycopgs(connection: Any) -> bool:
    return isinstance(connection, psycopg.Connection)


def _through_psycopg(connection: psycopg.Connection[Any]) -> Execute:
    def execute(statement: str, values: Mapping[str, object]) -> Sequence[Any]:
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(named_for_psycopg(statement), values)  # pyright: ignore[reportArgumentType]
            return cursor.fetchall() if cursor.description else ()

    return execute
