"""Transactional tasks on SQLite (rule C8): the body's writes and its outcome in one transaction of the file.

SQLite has one writer: as long as such a transaction is open nobody else writes, so there is one at a time, and it is
ended from outside when its time is over, whatever its body does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Lock, get_ident
from time import monotonic
from typing import Any, Final, Self

from sqlalchemy import Connection

from flowledger.adapters.failpoint import reach
from flowledger.events.errors import StoreUnavailable
from flowledger.events.transactions import OutcomeKey

from .lending import Loan, misused
from .sqlite_file import SqliteFile
from .sqlite_owners import now_us

#: Longer than this nobody else is kept from writing: an owner must be able to beat before it is fenced (B2).
LONGEST_S: Final = 10.0
#: How long a transaction waits for its turn.
PATIENCE_S: Final = 30.0

_LOOK = 'SELECT version, content FROM outcomes WHERE run_id = ? AND path = ? AND "try" = ? AND phase = ?'
_WRITE = (
    'INSERT INTO outcomes (run_id, path, "try", phase, version, content, time_us) VALUES (?, ?, ?, ?, ?, ?, ?) '
    'ON CONFLICT (run_id, path, "try", phase) DO UPDATE SET '
    "version = excluded.version, content = excluded.content, time_us = excluded.time_us "
    "WHERE outcomes.content IS NULL AND outcomes.version < excluded.version"
)
#: Instructions of SQLite between two looks at whether a long statement must end: some milliseconds.
_LOOK_EVERY: Final = 100_000
#: What a body may not do: `BEGIN`, `COMMIT` and `ROLLBACK` as text. Savepoints are another thing, and its own.
_FORBIDDEN: Final = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})


class SqliteTransactions:
    """See `events.store.Transactions`. ``open``: one is under way here, so a write would have to wait for it."""

    def __init__(self, file: SqliteFile) -> None:
        self.open = False
        self._file = file
        self._lock = Lock()

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        """See `Transactions.transact`."""
        with self._lock:
            reach("transaction.before_begin")
            with self._file.lending() as (connection, dbapi):
                self._begin(connection, dbapi)
                self.open = True
                try:
                    return self._transact(connection, dbapi, key, version, work, min(timeout_s, LONGEST_S))
                finally:
                    self.open = False

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        """See `Transactions.settle`."""
        reach("transaction.before_settle")
        with self._file.lending() as (connection, dbapi):
            self._begin(connection, dbapi)
            with self._file.guarded():
                dbapi.execute(_WRITE, (*key, version, None, now_us()))
                _, content = dbapi.execute(_LOOK, key).fetchone()
                dbapi.execute("COMMIT")
        reach("transaction.after_settle")
        return None if content is None else bytes(content)

    def _begin(self, connection: Connection, dbapi: sqlite3.Connection) -> None:
        """Take the write lock; others may have it for as long as a transaction of theirs takes."""
        deadline = monotonic() + PATIENCE_S
        with self._file.guarded():
            connection.begin()
            while True:
                try:
                    dbapi.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or monotonic() > deadline:
                        raise

    def _transact(
        self, connection: Connection, dbapi: sqlite3.Connection, key: OutcomeKey, version: int,
        work: Callable[[Any], bytes], limit_s: float,
    ) -> bytes | None:  # fmt: skip
        with _rolled_back_unless_committed(dbapi):
            before = dbapi.execute(_LOOK, key).fetchone()
            if before is not None and (before[1] is not None or before[0] >= version):
                return None if before[1] is None else bytes(before[1])
            reach("transaction.after_begin")
            with _Lent(connection, dbapi, limit_s) as lent:
                content = work(connection)
            reach("transaction.after_body")
            if lent.misused:
                raise misused()
            if lent.over:
                return None
            dbapi.execute(_WRITE, (*key, version, content, now_us()))
            reach("transaction.after_outcome")
            return self._commit(dbapi, key, version, content)

    def _commit(self, dbapi: sqlite3.Connection, key: OutcomeKey, version: int, content: bytes) -> bytes | None:
        reach("transaction.before_commit")
        try:
            dbapi.execute("COMMIT")
        except sqlite3.OperationalError as error:
            with suppress(sqlite3.Error):
                dbapi.execute("ROLLBACK")
            # It may have happened before the error: look, and make sure that it does not happen later (A3, C8).
            try:
                return self.settle(key, version=version)
            except StoreUnavailable:
                raise self._file.unavailable(error) from error
        reach("transaction.after_commit")
        return content


class _Lent(Loan):
    """On a file the end must not be left to the body: everybody's write lock hangs on it."""

    def __init__(self, connection: Connection, dbapi: sqlite3.Connection, limit_s: float) -> None:
        super().__init__(connection, limit_s)
        self._dbapi = dbapi
        self._cutter = 0  # the thread that may end it

    def __enter__(self) -> Self:
        self._dbapi.set_authorizer(self._authorize)
        self._dbapi.set_progress_handler(self._must_end, _LOOK_EVERY)
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with suppress(sqlite3.ProgrammingError):  # closed
            self._dbapi.set_authorizer(None)
            self._dbapi.set_progress_handler(None, 0)

    def _authorize(self, action: int, *_: object) -> int:
        if action in _FORBIDDEN and get_ident() != self._cutter:
            self.misused = self.misused or not self.over
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def _must_end(self) -> int:
        """Ends a statement of the body that is under way. (`interrupt` would also end those of `_cut`.)"""
        return int(self.over and get_ident() != self._cutter)

    def _cut(self) -> None:
        """First it is made read-only, so that what the body still does after the rollback is not committed statement
        by statement."""
        self._cutter = get_ident()
        with suppress(sqlite3.Error):
            self._dbapi.execute("PRAGMA query_only = 1")
            self._dbapi.execute("ROLLBACK")


@contextmanager
def _rolled_back_unless_committed(dbapi: sqlite3.Connection) -> Generator[None]:
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # the body has closed it, which also rolls back
            if dbapi.in_transaction:
                dbapi.execute("ROLLBACK")
