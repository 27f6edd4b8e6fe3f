"""A batch of a projector, written to Postgres: few statements and little write-ahead log, whatever the number of rows.

Rows that are new come by COPY, which logs a page of them at once, and rows that are there are updated. An insert that
may meet a row (ON CONFLICT) is logged twice, and an update by way of it, too: it is for what has to be found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from flowledger.adapters.stores.postgres.connecting import GuardedConnection
from flowledger.adapters.stores.postgres.wire import blobs, ints, original, stored, texts
from flowledger.projections.rows import Changes
from flowledger.projections.tables import Column, Key, Row, Table
from flowledger.projections.view_store import Mark, Slot

from .postgres_tables import copied_as
from .sql import SLOTS, names_of, on_conflict, physical, quoted

_ARRAYS: Final[dict[type, str]] = {str: "text[]", int: "int8[]", float: "float8[]", bytes: "bytea[]"}
#: So many new rows are worth a COPY, which takes three round trips more than an insert.
COPY_FROM: Final = 20

_ADVANCE: Final = (
    f"UPDATE {{v}}.{SLOTS} SET cursor = %s, events = %s, run_id = %s, at_version = %s, hash = %s, time_us = %s "  # noqa: S608
    "WHERE projection = %s AND number = %s"
)


class PostgresTurn:
    """One batch, in the transaction that ``connection`` is in."""

    def __init__(self, connection: GuardedConnection, schema: str, slot: Slot) -> None:
        self._connection = connection
        self._schema = schema
        self._slot = slot

    def _name(self, table: Table) -> str:
        return f"{self._schema}.{quoted(physical(self._slot.projection, self._slot.number, table.name))}"

    # -- reading --------------------------------------------------------------------------------

    def load(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        columns = table.every[: len(table.key_names)]
        names = ", ".join(quoted(name) for name in table.key_names)
        statement = (
            f"SELECT {names_of(table)} FROM {_unnest(columns)} AS k({names}) JOIN {self._name(table)} "  # noqa: S608
            f"USING ({names})"
        )
        many = len(columns)
        rows = (row_of(table.every, row) for row in self._fetch(statement, _arrays(columns, sorted(keys))))
        return {tuple(list(row.values())[:many]): row for row in rows}

    def under(self, table: Table, beginning: Key) -> Sequence[Row]:
        where = " AND ".join(f"{quoted(name)} = %s" for name in table.key_names[: len(beginning)])
        statement = f"SELECT {names_of(table)} FROM {self._name(table)} WHERE {where}"  # noqa: S608
        bound = [stored(value) if isinstance(value, str) else value for value in beginning]
        return [row_of(table.every, row) for row in self._fetch(statement, bound)]

    def _fetch(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

    # -- writing --------------------------------------------------------------------------------

    def write(self, changes: Sequence[Changes]) -> None:
        for change in changes:
            table = change.table
            if change.gone:
                self._delete(table, sorted(change.gone))
            made = _values(change, change.rows.keys() & change.made)
            rest = _values(change, change.rows.keys() - change.made)
            if made and (len(made) < COPY_FROM or not self._copy(table, made)):
                self._put(table, made)
            if rest and self._update(table, rest) < len(rest):
                self._put(table, rest)

    def advance(self, mark: Mark) -> None:
        values = (*mark._replace(run_id=stored(mark.run_id)), self._slot.projection, self._slot.number)
        self._execute(_ADVANCE.format(v=self._schema), values)

    def _execute(self, statement: str, values: Sequence[Any]) -> int:
        return self._connection.execute(statement, values).rowcount  # pyright: ignore[reportArgumentType]

    def _delete(self, table: Table, keys: Sequence[Key]) -> None:
        columns = table.every[: len(table.key_names)]
        names = ", ".join(quoted(name) for name in table.key_names)
        statement = f"DELETE FROM {self._name(table)} AS t USING {_unnest(columns)} AS k({names}) WHERE {_same(table)}"  # noqa: S608
        self._execute(statement, _arrays(columns, keys))

    def _copy(self, table: Table, rows: Sequence[Sequence[Any]]) -> bool:
        """Put new rows; False, and nothing done, where one of them was there after all."""
        statement = f"COPY {self._name(table)} ({names_of(table)}) FROM STDIN (FORMAT BINARY)"
        try:
            with self._connection.transaction(), self._connection.cursor().copy(statement) as copy:  # pyright: ignore[reportArgumentType]
                copy.set_types([copied_as(column) for column in table.every])
                for row in _as_stored(table, rows):
                    copy.write_row(row)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    def _update(self, table: Table, rows: Sequence[Sequence[Any]]) -> int:
        """Change rows that are there; how many there were."""
        others = table.names[len(table.key_names) :]
        if not others:
            return 0
        sets = ", ".join(f"{quoted(name)} = k.{quoted(name)}" for name in others)
        statement = (
            f"UPDATE {self._name(table)} AS t SET {sets} FROM {_unnest(table.every)} AS k({names_of(table)}) "  # noqa: S608
            f"WHERE {_same(table)}"
        )
        return self._execute(statement, _arrays(table.every, rows))

    def _put(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """Put rows that may be there or not."""
        statement = (
            f"INSERT INTO {self._name(table)} ({names_of(table)}) SELECT * FROM {_unnest(table.every)} AS r "  # noqa: S608
            f"{on_conflict(table)}"
        )
        self._execute(statement, _arrays(table.every, rows))


def _values(change: Changes, keys: Iterable[Key]) -> list[tuple[Any, ...]]:
    return [tuple(change.rows[key].values()) for key in sorted(keys)]


def _same(table: Table) -> str:
    return " AND ".join(f"t.{quoted(name)} = k.{quoted(name)}" for name in table.key_names)


def _as_stored(table: Table, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    places = [place for place, column in enumerate(table.every) if column.type is str]
    for row in rows:
        kept = list(row)
        for place in places:
            if kept[place] is not None:
                kept[place] = stored(kept[place])
        yield kept


def row_of(columns: Sequence[Column], values: Sequence[Any]) -> Row:
    """A row, its texts as they were before they were stored."""
    row = {column.name: value for column, value in zip(columns, values, strict=True)}
    for column in columns:
        if column.type is str and row[column.name] is not None:
            row[column.name] = original(row[column.name])
    return row


# -- arrays, packed as the server reads them ----------------------------------------------------


def _unnest(columns: Sequence[Column]) -> str:
    return f"unnest({', '.join(f'%b::{_ARRAYS[column.type]}' for column in columns)})"


def _arrays(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The rows, column by column, each packed as the server reads it."""
    turned = list(zip(*rows, strict=True))
    return [_PACK[column.type](values) for column, values in zip(columns, turned, strict=True)]


class _Texts(bytes):
    """A packed ``text[]``."""


class _Ints(bytes):
    """A packed ``int8[]``."""


class _Blobs(bytes):
    """A packed ``bytea[]``."""


_PACK: Final[dict[type, Callable[[Any], Any]]] = {
    str: lambda values: _Texts(texts(values)),
    int: lambda values: _Ints(ints(values)),
    float: list,
    bytes: lambda values: _Blobs(blobs(values)),
}


class _Packed(Dumper):
    """Hands over what has been packed already."""

    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


def take_packed(connection: GuardedConnection) -> None:
    """Have a connection take packed arrays."""
    for cls, array in ((_Texts, 1009), (_Ints, 1016), (_Blobs, 1001)):
        connection.adapters.register_dumper(cls, type(f"{cls.__name__}Dumper", (_Packed,), {"oid": array}))
