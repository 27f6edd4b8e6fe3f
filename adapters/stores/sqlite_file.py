"""The SQLite file itself: connections set up right, the schema on first use, errors that people can act on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from flowledger.events.errors import InputError, StoreUnavailable

from .sqlite_schema import METADATA, SCHEMA_VERSION, meta
from .sqlite_upgrading import bring_up_to_date
from .turns import Turns

Synchronous = Literal["FULL", "NORMAL"]
_SYNCHRONOUS: dict[str, Synchronous] = {"FULL": "FULL", "NORMAL": "NORMAL"}
T = TypeVar("T")

#: How long a statement waits for another process's write lock before the store counts as unavailable.
BUSY_TIMEOUT_S = 10.0
#: Pages in the write-ahead log before a commit also copies them into the database: 16 MB, so that few commits pay.
CHECKPOINT_PAGES = 4000

_HINTS = (
    ("locked", f"another process has held the write lock for {BUSY_TIMEOUT_S:g} s; find it with `fuser {{path}}`"),
    ("disk is full", "free some space on this disk, then resume: nothing acknowledged is lost"),
    ("readonly", "give this user write access to the file and to its directory (SQLite writes beside the file)"),
    ("unable to open", "the directory must exist and be writable for this user"),
    ("not a database", "the file is something else; name another one in the store's URL"),
    ("malformed", "the file is damaged: restore a backup, and check the disk"),
    ("disk I/O", "the disk refused to read or write: check it, and that the file is still there"),
)


def parse_url(url: str) -> tuple[Path, Synchronous]:
    """The absolute path and the options in ``sqlite:///PATH[?synchronous=FULL|NORMAL]``.

    NORMAL is several times faster for a lone run and may lose the last commits on power loss (never on a crash of the
    process).

    Raises:
        InputError: there is no path, or an option is not known.
    """
    location, _, query = url.partition("?")
    name = location.removeprefix("sqlite:///")
    options = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = _SYNCHRONOUS.get(options.pop("synchronous", "FULL").upper())
    if name in ("", location, ":memory:"):
        raise InputError(f"{url!r} names no file", given=url, hint="use sqlite:///flowledger.db, or memory://")
    if options or synchronous is None:
        raise InputError(f"{url!r}: the one option is synchronous=FULL|NORMAL", given=query, expected="synchronous")
    return Path(name).absolute(), synchronous


class SqliteFile:
    """A pool of connections to one file, each in autocommit: who needs a transaction begins it, in its turn."""

    def __init__(self, path: Path, synchronous: Synchronous = "FULL") -> None:
        self.path = path
        self.closed = False
        self.turns = Turns()
        self._engine = _engine(path, synchronous)
        try:
            with self.guarded():
                patiently(self._prepare)
        except BaseException:
            self._engine.dispose()
            raise

    def connection(self) -> PoolProxiedConnection:
        """A connection to keep; ``driver_connection`` is the `sqlite3.Connection`, without SQLAlchemy's costs."""
        with self.guarded():
            return self._engine.raw_connection()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A driver connection for one read."""
        with self.guarded():
            connection = self._engine.raw_connection()
            try:
                yield driver(connection)
            finally:
                connection.close()

    @contextmanager
    def selecting(self) -> Generator[Connection]:
        """A SQLAlchemy connection for one read, where speed is no matter."""
        with self.guarded(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def lending(self) -> Generator[tuple[Connection, sqlite3.Connection]]:
        """A SQLAlchemy connection, and the driver's behind it, for one whose errors are not ours to put into words.

        It never comes back to the pool: whatever has been done to it, nobody else gets it.
        """
        with self.guarded():
            connection = self._engine.connect()
            dbapi = driver(connection.connection)
            connection.detach()
        try:
            yield connection, dbapi
        finally:
            connection.close()

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Say errors of the driver as `StoreUnavailable`, with the path and what to do; refuse once closed."""
        if self.closed:
            raise StoreUnavailable(f"database {self.path}: the store has been closed")
        try:
            yield
        except StoreUnavailable:  # an OSError too, and already said well
            raise
        except DBAPIError as error:
            raise self.unavailable(error.orig or error) from error
        except (sqlite3.Error, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> StoreUnavailable:
        """The error to raise for an error of the driver."""
        text = str(error)
        hint = next((hint for word, hint in _HINTS if word in text), "see what the disk and the file have")
        return StoreUnavailable(f"database {self.path}: {text}", hint=hint.format(path=self.path))

    def dispose(self) -> None:
        """Close what is in the pool; the last connection folds the write-ahead log into the file."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            if not _has_schema(connection):
                _create_schema(connection)
            bring_up_to_date(connection, self.path)


class SqliteWays:
    """How tables beside the log are read and written; see `sealed.Ways`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def selecting(self, work: Callable[[Connection], T]) -> T:
        with self._file.selecting() as connection:
            return work(connection)

    def transacting(self, work: Callable[[Connection], T]) -> T:
        with self._file.selecting() as connection:
            return _in_transaction(connection, work)

    def erasing(self, work: Callable[[Connection], T]) -> T:
        """What is deleted is overwritten, and the write-ahead log, which has it too, is emptied if nobody reads."""
        with self._file.selecting() as connection:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            done = _in_transaction(connection, work)
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return done

    def stored(self, text: str) -> str:
        return text

    def original(self, text: str) -> str:
        return text


def _in_transaction(connection: Connection, work: Callable[[Connection], T]) -> T:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        done = work(connection)
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    return done


def driver(connection: PoolProxiedConnection) -> sqlite3.Connection:
    """The driver's connection behind one of the pool's."""
    found = connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def _engine(path: Path, synchronous: Synchronous) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=-1,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )

    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    event.listen(engine, "connect", set_up)
    return engine


def _has_schema(connection: Connection) -> bool:
    found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
    return found.first() is not None


def _create_schema(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        if not _has_schema(connection):  # another process may have been first
            METADATA.create_all(connection, checkfirst=False)
            connection.execute(meta.insert().values(name="schema_version", value=str(SCHEMA_VERSION)))
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise


def ask_often(connection: sqlite3.Connection) -> None:
    """Let a statement of this connection wait for a millisecond and no longer; see `begin`."""
    connection.execute("PRAGMA busy_timeout = 1")


@contextmanager
def asking_often(connection: sqlite3.Connection) -> Generator[None]:
    """The same for a while, on a connection that also reads: a read has nobody to ask again."""
    ask_often(connection)
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")


def begin(connection: sqlite3.Connection) -> None:
    """Take the write lock on a connection that asks often (`ask_often`).

    Left to itself SQLite asks again after ever longer pauses, up to a tenth of a second. Where another process commits
    over and over, the lock is free for less than a thousandth, and one would wait for seconds.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise


def patiently(action: Callable[[], T]) -> T:
    """Do again what finds the file locked, for a while.

    SQLite does not wait for the lock that switching to WAL takes, so two processes on a new file can collide.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            return action()
        except (DBAPIError, sqlite3.OperationalError) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)
