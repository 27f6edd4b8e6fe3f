"""Views in a SQLite file of their own, or in memory.

Not in the log's file: SQLite has one writer at a time, and a projector that writes there would make runs wait. Commits
do not wait for the disk either: after a power cut the file is some batches behind, whole, and goes on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final

from flowledger.adapters.stores.sqlite_file import patiently
from flowledger.events.errors import StoreUnavailable, ViewsMissing
from flowledger.events.store import Cursor
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Changes
from flowledger.projections.selecting import Select
from flowledger.projections.tables import Column, Key, Row, Table
from flowledger.projections.view_store import Mark, Slot, Turn

from . import digesting
from .sql import (
    SLOT_COLUMNS,
    SLOTS,
    Compiler,
    Dialect,
    create_indexes,
    create_table,
    names_of,
    on_conflict,
    physical,
    quoted,
    sqlite_glob,
)

#: How long a projector waits for another one's batch.
BUSY_TIMEOUT_S: Final = 5.0

DIALECT: Final = Dialect(
    bound="?", place="", fits="{column} GLOB {bound}", holds="{column} LIKE {bound} ESCAPE '\\'", glob=sqlite_glob,
    value=lambda value: value,
)  # fmt: skip
_TYPES: Final[dict[type, str]] = {str: "TEXT", int: "INTEGER", float: "REAL", bytes: "BLOB"}
_MAKE: Final = (
    f"CREATE TABLE IF NOT EXISTS {SLOTS} (projection TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL, "
    "live INTEGER NOT NULL, cursor TEXT NOT NULL, events INTEGER NOT NULL, run_id TEXT NOT NULL, "
    "at_version INTEGER NOT NULL, hash BLOB NOT NULL, time_us INTEGER NOT NULL, PRIMARY KEY (projection, number)) "
    "STRICT, WITHOUT ROWID"
)
_ALL: Final = f"SELECT {SLOT_COLUMNS} FROM {SLOTS} ORDER BY projection, number"  # noqa: S608
_ONE: Final = f"SELECT {SLOT_COLUMNS} FROM {SLOTS} WHERE projection = ? AND number = ?"  # noqa: S608
_LIVE: Final = f"SELECT number FROM {SLOTS} WHERE projection = ? AND live = 1"  # noqa: S608
_NEW: Final = f"INSERT INTO {SLOTS} ({SLOT_COLUMNS}) VALUES (?, ?, ?, ?, '', 0, '', 0, x'', 0)"  # noqa: S608
_ADVANCE: Final = (
    f"UPDATE {SLOTS} SET cursor = ?, events = ?, run_id = ?, at_version = ?, hash = ?, time_us = ? "  # noqa: S608
    "WHERE projection = ? AND number = ?"
)
_GO_LIVE: Final = f"UPDATE {SLOTS} SET live = 1 WHERE projection = ? AND number = ?"  # noqa: S608
_FORGET: Final = f"DELETE FROM {SLOTS} WHERE projection = ? AND number = ?"  # noqa: S608
_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ?"


class SqliteViews:
    """Views in the file at ``path``, made where there is none; None keeps them in memory.

    Raises:
        StoreUnavailable: the file cannot be opened or made.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writing = RLock()
        self._closed = False
        with self._guarded():
            self._writer = self._connect()
            try:
                self._writer.execute(_MAKE)
                # Who reads has a connection of his own, but for tables in memory, which are where they were made.
                self._reader = self._writer if path is None else self._connect()
            except BaseException:
                self._writer.close()
                raise
        self._reading = self._writing if path is None else RLock()

    def _connect(self) -> sqlite3.Connection:
        where = ":memory:" if self._path is None else str(self._path)
        connection = sqlite3.connect(where, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = OFF" if self._path is None else "PRAGMA synchronous = NORMAL")
        return connection

    @contextmanager
    def _guarded(self) -> Generator[None]:
        if self._closed:
            raise StoreUnavailable(f"views {self.describe()}: they have been closed")
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"views {self.describe()}: {error}",
                hint="see that the directory can be written; the file holds nothing of its own, and if it is damaged "
                "it may be deleted: it is made anew from the log",
            ) from error

    # -- slots ----------------------------------------------------------------------------------

    def slots(self) -> list[Slot]:
        with self._reading, self._guarded():
            return [_slot(row) for row in self._reader.execute(_ALL)]

    def make(self, projection: Projection, *, number: int, live: bool) -> Slot:
        with self._transaction() as connection:
            found = connection.execute(_ONE, (projection.name, number)).fetchone()
            if found is None:
                connection.execute(_NEW, (projection.name, number, projection.version, live))
                for table in projection.tables:
                    plain = physical(projection.name, number, table.name)
                    name = quoted(plain)
                    connection.execute(create_table(name, table, _type_of, " STRICT, WITHOUT ROWID"))
                    for statement in create_indexes(name, plain, table):
                        connection.execute(statement)
                found = connection.execute(_ONE, (projection.name, number)).fetchone()
            return _slot(found)

    @contextmanager
    def turn(self, projection: Projection, slot: Slot) -> Generator[Turn | None]:
        with self._writing, self._guarded():
            if not self._began():
                yield None  # another projector has had the file for long: stand by
                return
            with self._ending() as connection:
                found = connection.execute(_ONE, (slot.projection, slot.number)).fetchone()
                yield _Turn(connection, slot) if found is not None and _slot(found) == slot else None

    def swap(self, projection: Projection, old: Slot, new: Slot) -> bool:
        with self._transaction() as connection:
            was, will = (connection.execute(_ONE, (projection.name, slot.number)).fetchone() for slot in (old, new))
            if was is None or will is None or _slot(will).mark.events < _slot(was).mark.events:
                return False
            self._drop(connection, old)
            connection.execute(_GO_LIVE, (projection.name, new.number))
            return True

    def drop(self, slot: Slot) -> None:
        with self._transaction() as connection:
            self._drop(connection, slot)

    def _drop(self, connection: sqlite3.Connection, slot: Slot) -> None:
        connection.execute(_FORGET, (slot.projection, slot.number))
        pattern = sqlite_glob(physical(slot.projection, slot.number, "")) + "*"
        for (name,) in connection.execute(_TABLES, (pattern,)).fetchall():
            connection.execute(f"DROP TABLE {quoted(name)}")

    # -- reading --------------------------------------------------------------------------------

    def select(self, projection: str, select: Select) -> list[Row]:
        names = select.columns or select.table.names
        with self._reading, self._guarded():
            live = self._reader.execute(_LIVE, (projection,)).fetchone()
            if live is None:
                raise ViewsMissing(f"views {self.describe()}: there are no tables of the projection {projection} yet")
            compiler = Compiler(DIALECT, projection, live[0])
            text = compiler.select(select)
            return [dict(zip(names, row, strict=True)) for row in self._reader.execute(text, compiler.values)]

    def digest(self, projection: Projection, slot: Slot) -> bytes:
        digest = digesting.new()
        with self._reading, self._guarded():
            for table in projection.tables:
                name = quoted(physical(slot.projection, slot.number, table.name))
                order = ", ".join(map(quoted, table.key_names))
                statement = f"SELECT {names_of(table)} FROM {name} ORDER BY {order}"  # noqa: S608 - checked names
                with closing(self._reader.execute(statement)) as found:
                    digesting.take_in(digest, table.name, found)
        return digest.digest()

    def count(self, slot: Slot, table: Table) -> int:
        name = quoted(physical(slot.projection, slot.number, table.name))
        with self._reading, self._guarded():
            return int(self._reader.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608

    def describe(self) -> str:
        return "in memory" if self._path is None else str(self._path)

    def close(self) -> None:
        if self._path is None or self._closed:  # in memory they live as long as the log
            return
        self._closed = True
        with self._writing, self._reading, suppress(sqlite3.Error):
            self._writer.close()
            self._reader.close()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._writing, self._guarded():
            if not self._began():
                raise StoreUnavailable(
                    f"views {self.describe()}: another process has had the file for {BUSY_TIMEOUT_S:g} s",
                    hint="try again; `fuser` says who it is",
                )
            with self._ending() as connection:
                yield connection

    def _began(self) -> bool:
        """Begin; False where another one has not ended in time."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return False
            raise
        return True

    @contextmanager
    def _ending(self) -> Generator[sqlite3.Connection]:
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise


class _Turn:
    """One batch; statements go one by one, as nothing lies between us and the database."""

    def __init__(self, connection: sqlite3.Connection, slot: Slot) -> None:
        self._connection = connection
        self._slot = slot

    def load(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        names, execute = table.names, self._connection.execute
        statement = f"{self._select(table)} WHERE {_under(table, len(table.key_names))}"
        found: dict[Key, Row] = {}
        for key in keys:
            row = execute(statement, key).fetchone()
            if row is not None:
                found[key] = dict(zip(names, row, strict=True))
        return found

    def under(self, table: Table, beginning: Key) -> Sequence[Row]:
        statement = f"{self._select(table)} WHERE {_under(table, len(beginning))}"
        return [dict(zip(table.names, row, strict=True)) for row in self._connection.execute(statement, beginning)]

    def _select(self, table: Table) -> str:
        return f"SELECT {names_of(table)} FROM {self._name(table)}"  # noqa: S608 - checked and quoted names

    def _name(self, table: Table) -> str:
        return quoted(physical(self._slot.projection, self._slot.number, table.name))

    def write(self, changes: Sequence[Changes]) -> None:
        for change in changes:
            table, name = change.table, self._name(change.table)
            if change.gone:
                where = _under(table, len(table.key_names))
                self._connection.executemany(f"DELETE FROM {name} WHERE {where}", sorted(change.gone))  # noqa: S608
            if change.rows:
                marks = ", ".join("?" * len(table.names))
                statement = f"INSERT INTO {name} ({names_of(table)}) VALUES ({marks}) {on_conflict(table)}"  # noqa: S608
                rows = [tuple(change.rows[key].values()) for key in sorted(change.rows)]
                self._connection.executemany(statement, rows)

    def advance(self, mark: Mark) -> None:
        self._connection.execute(_ADVANCE, (*mark, self._slot.projection, self._slot.number))


def _type_of(column: Column) -> str:
    return _TYPES[column.type]


def _under(table: Table, many: int) -> str:
    return " AND ".join(f"{quoted(name)} = ?" for name in table.key_names[:many])


def _slot(row: Sequence[Any]) -> Slot:
    projection, number, version, live, cursor, *rest = row
    return Slot(projection, number, version, bool(live), Mark(Cursor(cursor), *rest))
