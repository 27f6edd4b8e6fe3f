"""How tables of views lie in Postgres: types, the order of columns, the room that is left."""

from __future__ import annotations

from typing import Final

from flowledger.projections.tables import Column, Table

_TYPES: Final[dict[type, str]] = {str: 'text COLLATE "C"', float: "double precision", bytes: "bytea"}
_INTS: Final = {16: "smallint", 32: "integer", 64: "bigint"}
_COPIED: Final[dict[type, str]] = {str: "text", float: "float8", bytes: "bytea"}
#: Room for rows that change again and again to stay on their page. For rows that change once it is wasted: those of a
#: page change together, so most of them have to leave it anyway.
_ROOM: Final = " WITH (fillfactor = 85)"


def type_of(column: Column) -> str:
    """The column's type."""
    return _INTS[column.bits] if column.type is int else _TYPES[column.type]


def copied_as(column: Column) -> str:
    """The type by the name by which psycopg knows it."""
    return f"int{column.bits // 8}" if column.type is int else _COPIED[column.type]


def without_gaps(table: Table) -> list[Column]:
    """The columns so that none leaves a gap before the next: a number begins at a multiple of its own size."""

    def place(column: Column) -> tuple[int, bool]:
        return -column.bits if column.type in (int, float) else 0, column.optional

    return sorted(table.every, key=place)


def room_for(table: Table) -> str:
    """What the table is made with."""
    return "" if table.soon_done else _ROOM
