"""Views in Postgres: a schema beside the log's, in which the projector's role makes the tables.

A turn is one transaction that locks its slot's checkpoint, so that of several projectors one is active and the others
stand by. Its commit does not wait for the disk: after a crash the server has some batches less, whole, and checkpoints
that fit them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, text

from flowledger.adapters.stores.postgres import roles
from flowledger.adapters.stores.postgres.connecting import GuardedConnection, Lost
from flowledger.adapters.stores.postgres.database import Link, PostgresDatabase
from flowledger.adapters.stores.postgres.location import Location, views_schema
from flowledger.adapters.stores.postgres.wire import original, stored
from flowledger.events.errors import SchemaTooOld, ViewsMissing
from flowledger.events.store import Cursor
from flowledger.projections.projection import Projection
from flowledger.projections.selecting import Select
from flowledger.projections.tables import Row, Table
from flowledger.projections.view_store import Mark, Slot, Turn

from . import digesting
from .postgres_tables import room_for, type_of, without_gaps
from .postgres_turn import PostgresTurn, row_of, take_packed
from .sql import (
    SLOT_COLUMNS,
    SLOTS,
    Compiler,
    Dialect,
    create_indexes,
    create_table,
    like_glob,
    names_of,
    physical,
    quoted,
)

T = TypeVar("T")

#: Rows per page of a digest.
_PAGE: Final = 5_000

_MAKE: Final = (
    f'CREATE TABLE IF NOT EXISTS {{v}}.{SLOTS} (projection text COLLATE "C" NOT NULL, number bigint NOT NULL, '
    "version bigint NOT NULL, live boolean NOT NULL, cursor text NOT NULL, events bigint NOT NULL, "
    "run_id text NOT NULL, at_version bigint NOT NULL, hash bytea NOT NULL, time_us bigint NOT NULL, "
    "PRIMARY KEY (projection, number)) WITH (fillfactor = 10)"
)
_ALL: Final = f"SELECT {SLOT_COLUMNS} FROM {{v}}.{SLOTS} ORDER BY projection, number"  # noqa: S608
_LOCKED: Final = (
    f"SELECT {SLOT_COLUMNS} FROM {{v}}.{SLOTS} WHERE projection = %s AND number = ANY (%s) "  # noqa: S608
    "ORDER BY number FOR UPDATE"
)
_LIVE: Final = f"SELECT number FROM {{v}}.{SLOTS} WHERE projection = %s AND live"  # noqa: S608
_NEW: Final = (
    f"INSERT INTO {{v}}.{SLOTS} ({SLOT_COLUMNS}) VALUES (%s, %s, %s, %s, '', 0, '', 0, '', 0) "  # noqa: S608
    "ON CONFLICT DO NOTHING"
)
_GO_LIVE: Final = f"UPDATE {{v}}.{SLOTS} SET live = true WHERE projection = %s AND number = %s"  # noqa: S608
_FORGET: Final = f"DELETE FROM {{v}}.{SLOTS} WHERE projection = %s AND number = %s"  # noqa: S608
_IS_THERE: Final = "SELECT to_regnamespace(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"
_BECOME: Final = "SELECT set_config('role', %s, true)"
_MAY_CREATE: Final = "SELECT has_schema_privilege(:r, :s, 'CREATE')"
_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE %s"
_LOCK_MAKING: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
# Planned for tables of any size: a plan made while they are empty is kept while they grow. No wait for the disk.
_BEGIN: Final = (
    "SELECT set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true), "
    "set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
)


def _bound(value: Any) -> Any:
    return stored(value) if isinstance(value, str) else value


class PostgresViews:
    """The views beside the log at a `Location`.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SchemaTooOld: there is no schema for views; `flowledger db upgrade` makes it.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._schema = views_schema(location.schema)
        self._database = PostgresDatabase(location)
        self._link = Link(self._database, take_packed)
        self._writing = RLock()
        self._role = ""
        self._live: dict[str, int] = {}
        self._dialect = Dialect(
            bound="%s", place=f"{self._schema}.", fits="{column} LIKE {bound} ESCAPE '\\'",
            holds="{column} ILIKE {bound} ESCAPE '\\'", glob=like_glob, value=_bound,
            among="{column} = ANY ({bound})",
        )  # fmt: skip
        try:
            self._prepare()
        except BaseException:
            self._database.dispose()
            raise

    def _prepare(self) -> None:
        place, table = self._database.reading(
            lambda c: c.execute(_IS_THERE, (self._schema, f"{self._schema}.{SLOTS}")).fetchall()[0]
        )
        if not place:
            raise SchemaTooOld(f"{self._location.describe()} has no schema {self._schema} for views yet")
        role = roles.name(self._location.schema, "projector")
        may = self._database.selecting(lambda c: roles.may_become(c, role))
        if may and self._database.selecting(
            lambda c: bool(c.scalar(text(_MAY_CREATE), {"r": role, "s": self._schema}))
        ):
            self._role = role
        if not table:
            with self._transaction() as connection:
                self._execute(connection, _LOCK_MAKING, f"flowledger views {self._schema}")
                self._execute(connection, _MAKE)

    def _may_make(self, connection: Connection, role: str) -> bool:
        return bool(connection.scalar(text(_MAY_CREATE), {"r": role, "s": self._schema}))

    # -- slots ----------------------------------------------------------------------------------

    def slots(self) -> list[Slot]:
        return [_slot(row) for row in self._rows(_ALL)]

    def make(self, projection: Projection, *, number: int, live: bool) -> Slot:
        with self._transaction() as connection:
            self._execute(connection, _LOCK_MAKING, f"flowledger views {self._schema}")
            if self._execute(connection, _NEW, projection.name, number, projection.version, live).rowcount:
                for table in projection.tables:
                    plain = physical(projection.name, number, table.name)
                    name = f"{self._schema}.{quoted(plain)}"
                    self._execute(connection, create_table(name, table, type_of, room_for(table), without_gaps(table)))
                    for statement in create_indexes(name, plain, table):
                        self._execute(connection, statement)
            return self._locked(connection, projection.name, number)[0]

    @contextmanager
    def turn(self, projection: Projection, slot: Slot) -> Generator[Turn | None]:
        with self._transaction() as connection:
            found = self._locked(connection, slot.projection, slot.number)
            yield PostgresTurn(connection, self._schema, slot) if found == [slot] else None

    def swap(self, projection: Projection, old: Slot, new: Slot) -> bool:
        with self._transaction() as connection:
            found = {slot.number: slot for slot in self._locked(connection, projection.name, old.number, new.number)}
            if len(found) < 2 or found[new.number].mark.events < found[old.number].mark.events:
                return False
            self._drop(connection, old)
            self._execute(connection, _GO_LIVE, projection.name, new.number)
            return True

    def drop(self, slot: Slot) -> None:
        with self._transaction() as connection:
            self._locked(connection, slot.projection, slot.number)
            self._drop(connection, slot)

    def _locked(self, connection: GuardedConnection, projection: str, *numbers: int) -> list[Slot]:
        return [_slot(row) for row in self._execute(connection, _LOCKED, projection, list(numbers)).fetchall()]

    def _drop(self, connection: GuardedConnection, slot: Slot) -> None:
        self._execute(connection, _FORGET, slot.projection, slot.number)
        pattern = like_glob(physical(slot.projection, slot.number, "*"))
        for (name,) in self._execute(connection, _TABLES, self._schema, pattern).fetchall():
            self._execute(connection, f"DROP TABLE {self._schema}.{quoted(name)}")

    # -- reading --------------------------------------------------------------------------------

    def select(self, projection: str, select: Select) -> list[Row]:
        table = select.table
        columns = [column for column in table.every if not select.columns or column.name in select.columns]
        columns.sort(key=lambda column: (select.columns or table.names).index(column.name))

        def read(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            compiler = Compiler(self._dialect, projection, self._live_slot(connection, projection))
            statement = compiler.select(select)
            return connection.execute(statement, compiler.values).fetchall()  # pyright: ignore[reportArgumentType]

        return [row_of(columns, row) for row in self._again_if_swapped(projection, read)]

    def _live_slot(self, connection: GuardedConnection, projection: str) -> int:
        """Which tables are read. As long as they are there they are the ones: those that come after take them away."""
        if projection not in self._live:
            live = connection.execute(_LIVE.format(v=self._schema), (projection,)).fetchone()  # pyright: ignore[reportArgumentType]
            if live is None:
                raise ViewsMissing(f"{self.describe()}: there are no tables of the projection {projection} yet")
            self._live[projection] = live[0]
        return self._live[projection]

    def _again_if_swapped(self, projection: str, read: Callable[[GuardedConnection], T]) -> T:
        """A rebuild may have taken the tables away since somebody looked which are read."""

        def attempt(connection: GuardedConnection) -> T:
            try:
                return read(connection)
            except psycopg.errors.UndefinedTable:
                self._live.pop(projection, None)
                return read(connection)

        return self._database.reading(attempt)

    def digest(self, projection: Projection, slot: Slot) -> bytes:
        digest = digesting.new()
        for table in projection.tables:
            digesting.take_in(digest, table.name, self._every(slot, table))
        return digest.digest()

    def _every(self, slot: Slot, table: Table) -> Iterator[Sequence[Any]]:
        name = f"{self._schema}.{quoted(physical(slot.projection, slot.number, table.name))}"
        keys = ", ".join(map(quoted, table.key_names))
        marks = ", ".join(["%s"] * len(table.key_names))
        start = f"SELECT {names_of(table)} FROM {name}"  # noqa: S608 - checked and quoted names
        end = f"ORDER BY {keys} LIMIT {_PAGE}"
        page = self._rows(f"{start} {end}")
        while page:
            for row in page:
                yield list(row_of(table.every, row).values())
            page = self._rows(f"{start} WHERE ({keys}) > ({marks}) {end}", *page[-1][: len(table.key_names)])

    def count(self, slot: Slot, table: Table) -> int:
        name = quoted(physical(slot.projection, slot.number, table.name))
        return int(self._rows(f"SELECT count(*) FROM {self._schema}.{name}")[0][0])  # noqa: S608

    def describe(self) -> str:
        return f"{self._location.describe()}, schema {self._schema}"

    def close(self) -> None:
        if self._database.closed:
            return
        self._database.closed = True
        with self._writing:
            self._link.close()
        self._database.dispose()

    # -- statements -----------------------------------------------------------------------------

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        bound = statement.format(v=self._schema)
        return self._database.reading(lambda c: c.execute(bound, values or None).fetchall())  # pyright: ignore[reportArgumentType]

    def _execute(
        self, connection: GuardedConnection, statement: str, *values: object
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        return connection.execute(statement.format(v=self._schema), values or None)  # pyright: ignore[reportArgumentType]

    @contextmanager
    def _transaction(self) -> Generator[GuardedConnection]:
        """One transaction on the connection that writes; what is lost on the way shows at the next checkpoint read."""
        with self._writing, self._said():
            connection = self._link.connection()
            try:
                with connection.transaction():
                    connection.execute(_BEGIN)
                    if self._role:
                        connection.execute(_BECOME, (self._role,))
                    yield connection
            except psycopg.Error as error:
                if self._link.lost(error):
                    raise Lost(error) from error
                raise

    @contextmanager
    def _said(self) -> Generator[None]:
        try:
            with self._database.guarded():
                yield
        except Lost as lost:
            raise self._database.unavailable(lost.error) from lost


def _slot(row: Sequence[Any]) -> Slot:
    projection, number, version, live, cursor, events, run_id, at_version, content, time_us = row
    mark = Mark(Cursor(cursor), events, original(run_id), at_version, bytes(content), time_us)
    return Slot(projection, number, version, live, mark)
