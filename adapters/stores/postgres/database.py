"""The way to the database: SQLAlchemy's pool of guarded connections, and patience when one is lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from flowledger.events.errors import StoreError, StoreUnavailable

from .connecting import GuardedConnection, Lost, Patience, guard
from .location import Location
from .unavailable import unavailable

T = TypeVar("T")

#: Connections for reading that are kept, and how many more there may be for a moment.
_POOL_SIZE = 4
_POOL_OVERFLOW = 8
#: The era in which nothing is kept any more.
_OVER = -1


class PostgresDatabase:
    """One database, and the schema in it. Every connection is in autocommit: a statement is a transaction."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.schema = location.schema
        self.closed = False
        self._era = 0  # grows whenever what waits in the pool is given up
        self._engine = _engine(location, lambda: self._era)

    def connect(self) -> GuardedConnection:
        """A connection out of the pool, to keep and to close.

        Raises:
            Lost: there is none to be had.
        """
        with self.guarded():
            pooled = self._engine.raw_connection()
            connection = driver(pooled)
            pooled.detach()
            return connection

    def reading(self, work: Callable[[GuardedConnection], T]) -> T:
        """Do a read, again on another connection if the first one is lost.

        Raises:
            StoreUnavailable: none answered within ``reconnect_s``.
        """
        return self.patiently(lambda: self._read(work))

    def reading_once(self, work: Callable[[GuardedConnection], T]) -> T:
        """Do what must not be done twice.

        Raises:
            Lost: it may or may not have happened.
        """
        with self.guarded():
            return self._read(work)

    def selecting(self, work: Callable[[Connection], T]) -> T:
        """`reading` through SQLAlchemy, where speed is no matter."""

        def read() -> T:
            with self.connecting() as connection:
                return work(connection)

        return self.patiently(read)

    def connecting(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection; names without a schema are ours."""
        return self._engine.connect()

    def patiently(self, attempt: Callable[[], T], *, patience_s: float | None = None) -> T:
        """Do what may be done twice until it is not `Lost`."""
        patience = Patience(self.location.reconnect_s if patience_s is None else patience_s)
        while True:
            try:
                with self.guarded():
                    return attempt()
            except Lost as lost:
                self.forget_idle()
                if patience.over():
                    raise self.unavailable(lost.error) from lost
            patience.pause()

    def forget_idle(self) -> None:
        """Close what waits in the pool: where one connection broke, the others have too."""
        self._era += 1  # those that are out are closed when they come back
        with suppress(psycopg.Error):
            self._engine.dispose()

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Say errors of the driver as ours; refuse once closed. `Lost` passes."""
        if self.closed:
            raise StoreUnavailable(f"{self.location.describe()}: the store has been closed")
        try:
            yield
        except DBAPIError as error:
            found = error.orig or error
            if error.connection_invalidated:
                raise Lost(found) from error
            raise self.unavailable(found) from error
        except (psycopg.Error, PoolTimeout) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> StoreError:
        """The error to raise for an error of the driver."""
        return unavailable(self.location, error)

    def dispose(self) -> None:
        """Close what is in the pool; what is out is closed when it comes back."""
        self._era = _OVER
        self._engine.dispose()

    def _read(self, work: Callable[[GuardedConnection], T]) -> T:
        pooled = self._engine.raw_connection()
        connection = driver(pooled)
        try:
            return work(connection)
        except psycopg.Error as error:
            if connection.closed:
                pooled.invalidate()
                raise Lost(error) from error
            raise
        finally:
            pooled.close()


class Link:
    """A connection kept for one purpose, made again when it has been lost. One thread at a time."""

    def __init__(self, database: PostgresDatabase, set_up: Callable[[GuardedConnection], None] | None = None) -> None:
        self._database = database
        self._set_up = set_up
        self._connection: GuardedConnection | None = None

    def connection(self) -> GuardedConnection:
        """The connection as it is, or a new one.

        Raises:
            Lost: there is none to be had.
        """
        if self._connection is None:
            made = self._database.connect()
            try:
                if self._set_up is not None:
                    self._set_up(made)
            except psycopg.OperationalError as error:
                made.close()
                raise Lost(error) from error
            self._connection = made
        return self._connection

    def lost(self, error: psycopg.Error) -> bool:
        """Whether ``error`` has cost the connection; then the next one will be new."""
        if self._connection is None or not self._connection.closed:
            return False
        self.close()
        return bool(error)

    def execute(
        self, statement: str, *values: object, named: Mapping[str, object] | None = None, rows: bool = True
    ) -> list[tuple[Any, ...]]:
        """Execute one statement, with ``values`` or ``named`` ones; what it gives, if it gives ``rows``.

        Raises:
            Lost: nobody knows whether it has been executed.
        """
        try:
            cursor = self.connection().execute(statement, named or values or None)  # pyright: ignore[reportArgumentType]
            return cursor.fetchall() if rows else []
        except psycopg.Error as error:
            if self.lost(error):
                raise Lost(error) from error
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def driver(pooled: PoolProxiedConnection) -> GuardedConnection:
    """The driver's connection behind one of the pool's."""
    found = pooled.driver_connection
    assert isinstance(found, GuardedConnection)
    return found


def _engine(location: Location, era: Callable[[], int]) -> Engine:
    engine = create_engine(
        location.url.set(query=location.libpq()),
        poolclass=QueuePool,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_OVERFLOW,
        pool_timeout=location.answer_s,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        use_native_hstore=False,
        hide_parameters=True,
        execution_options={"schema_translate_map": {None: location.schema}},
    )

    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> GuardedConnection:
        threshold = None if location.pooled else 5
        try:
            connection = GuardedConnection.connect(*arguments, **options, autocommit=True, prepare_threshold=threshold)
        except psycopg.OperationalError as error:
            raise Lost(error) from error
        return guard(connection, location.answer_s)

    def made(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["era"] = era()

    def came_back(connection: object, record: ConnectionPoolEntry) -> None:
        now = era()
        if connection is not None and (now == _OVER or record.info.get("era") != now):
            record.invalidate()

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", made)
    event.listen(engine, "checkin", came_back)
    return engine
