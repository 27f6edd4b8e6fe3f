"""Transactional tasks on Postgres (rule C8): the body's writes and its outcome in one transaction of the database.

They have connections of their own, set up as SQLAlchemy sets them up: what a body may expect of a connection, and no
more. When the time of one is over its session is ended; by the server itself where this process hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from flowledger.adapters.failpoint import reach
from flowledger.adapters.stores.lending import Loan, misused
from flowledger.events.errors import StoreError
from flowledger.events.transactions import OutcomeKey

from .connecting import GuardedConnection, Lost, guard
from .database import PostgresDatabase, driver
from .location import GRACE_S
from .wire import stored

#: So many at once; more wait for their turn.
AT_ONCE: Final = 4
#: An open transaction that has written keeps followers of the log from what is newer (A4), so none is long.
LONGEST_S: Final = 60.0

_LOOK: Final = "SELECT version, content FROM {s}.outcomes WHERE run_id = %s AND path = %s AND try = %s AND phase = %s"
# A transaction begins at one time: the same time tells that it is still the one that the body was lent.
_WRITE: Final = (
    "INSERT INTO {s}.outcomes AS o (run_id, path, try, phase, version, content, time_us) "
    "SELECT %s, %s, %s::int8, %s, %s::int8, %s::bytea, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint "
    "{while} ON CONFLICT (run_id, path, try, phase) DO UPDATE "
    "SET version = excluded.version, content = excluded.content, time_us = excluded.time_us "
    "WHERE o.content IS NULL AND o.version < excluded.version RETURNING 1"
)
_BEGUN: Final = "WHERE transaction_timestamp() = %s"
_BEGIN: Final = (
    "SELECT transaction_timestamp(), pg_backend_pid(), set_config('statement_timeout', %(limit)s, true), "
    "set_config('idle_in_transaction_session_timeout', %(limit)s, true)"
)
_TERMINATE: Final = "SELECT pg_terminate_backend(%s)"


class _Before(NamedTuple):
    """What stands under a key."""

    version: int
    content: bytes | None


class PostgresTransactions:
    """See `events.store.Transactions`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._lock = Lock()
        self._made: Engine | None = None
        self._look = _LOOK.format(s=database.schema)
        self._write = _WRITE.format(s=database.schema, **{"while": _BEGUN})
        self._bury = _WRITE.format(s=database.schema, **{"while": ""})

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        """See `Transactions.transact`."""
        limit_s = min(timeout_s, LONGEST_S)
        reach("transaction.before_begin")
        with self._lent(limit_s) as (connection, dbapi):
            with self._database.guarded():
                begun_at, backend = self._begin(dbapi, limit_s)
                before = self._standing(dbapi, key)
            if before is not None and (before.content is not None or before.version >= version):
                return before.content
            reach("transaction.after_begin")
            with _Lent(connection, limit_s, lambda: self._terminate(backend)) as loan:
                content = work(connection)
            reach("transaction.after_body")
            if loan.over:
                return None
            if loan.misused or dbapi.info.transaction_status == TransactionStatus.IDLE:
                raise misused()
            values = (*_stored(key), version, content, begun_at)
            if dbapi.execute(self._write, values).fetchone() is None:  # pyright: ignore[reportArgumentType]
                return self._refused(dbapi, key, version, begun_at)
            reach("transaction.after_outcome")
            return self._commit(dbapi, key, version, content)

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        """See `Transactions.settle`. Both statements may be repeated."""
        reach("transaction.before_settle")

        def settle(connection: GuardedConnection) -> bytes | None:
            connection.execute(self._bury, (*_stored(key), version, None))  # pyright: ignore[reportArgumentType]
            found = self._standing(connection, key)
            return None if found is None else found.content

        content = self._database.reading(settle)
        reach("transaction.after_settle")
        return content

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            if self._made is not None:
                self._made.dispose()

    # -- one transaction ------------------------------------------------------------------------

    @contextmanager
    def _lent(self, limit_s: float) -> Generator[tuple[Connection, GuardedConnection]]:
        """A connection for one transaction, which is rolled back unless it is committed within."""
        connection = self._database.patiently(self._connected)
        dbapi = driver(connection.connection)
        dbapi.answer_s = limit_s + GRACE_S
        try:
            connection.begin()
            yield connection, dbapi
        finally:
            if not connection.closed:  # else the body has closed it: it is back in the pool, and maybe somebody else's
                _give_back(connection, dbapi, self._database.location.answer_s)

    def _connected(self) -> Connection:
        with self._lock:
            if self._made is None:
                self._made = _engine(self._database)
            engine = self._made
        return engine.connect()

    def _begin(self, dbapi: GuardedConnection, limit_s: float) -> tuple[object, int]:
        """Begin the transaction, and tell the server when it must be over; the time it begins at, and who serves it."""
        row = dbapi.execute(_BEGIN, {"limit": f"{max(1, round(limit_s * 1000))}ms"}).fetchone()
        assert row is not None
        return row[0], row[1]

    def _terminate(self, backend: int) -> None:
        """End a session whose time is over. If that fails the server's own limits end it, a little later."""
        with suppress(StoreError):
            self._database.reading(lambda connection: connection.execute(_TERMINATE, (backend,)))

    def _standing(self, dbapi: GuardedConnection, key: OutcomeKey) -> _Before | None:
        row = dbapi.execute(self._look, _stored(key)).fetchone()  # pyright: ignore[reportArgumentType]
        return None if row is None else _Before(row[0], row[1])

    def _refused(self, dbapi: GuardedConnection, key: OutcomeKey, version: int, begun_at: object) -> bytes | None:
        """Somebody was first, or the transaction is not the one that was begun."""
        row = dbapi.execute("SELECT transaction_timestamp()").fetchone()
        if row is None or row[0] != begun_at:
            raise misused()
        dbapi.rollback()
        return self.settle(key, version=version)

    def _commit(self, dbapi: GuardedConnection, key: OutcomeKey, version: int, content: bytes) -> bytes | None:
        reach("transaction.before_commit")
        try:
            dbapi.commit()
        except psycopg.Error as error:
            if not dbapi.closed:
                raise  # the server said no: a deferred constraint, a serialisation failure
            # Nobody knows what became of it: look, and make sure that it does not happen later (A3, C8).
            try:
                return self.settle(key, version=version)
            except StoreError:
                raise self._database.unavailable(error) from error
        reach("transaction.after_commit")
        return content


class _Lent(Loan):
    def __init__(self, connection: Connection, limit_s: float, cut: Callable[[], None]) -> None:
        super().__init__(connection, limit_s)
        self._end_session = cut

    def _cut(self) -> None:
        self._end_session()


def _give_back(connection: Connection, dbapi: GuardedConnection, answer_s: float) -> None:
    with suppress(psycopg.Error):
        dbapi.rollback()
    dbapi.answer_s = answer_s
    if dbapi.closed:
        connection.invalidate()
    connection.close()


def _stored(key: OutcomeKey) -> tuple[str, str, int, str]:
    return stored(key.run_id), stored(key.path), key.try_, key.phase


def _engine(database: PostgresDatabase) -> Engine:
    location = database.location
    engine = create_engine(
        location.url.set(query=location.libpq()),
        poolclass=QueuePool,
        pool_size=AT_ONCE,
        max_overflow=AT_ONCE,
        pool_timeout=location.answer_s,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )

    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> GuardedConnection:
        threshold = None if location.pooled else 5
        try:
            connection = GuardedConnection.connect(*arguments, **options, prepare_threshold=threshold)
        except psycopg.OperationalError as error:
            raise Lost(error) from error
        return guard(connection, location.answer_s)

    event.listen(engine, "do_connect", connect)
    return engine
