"""Views as SQL. Values are bound, names are quoted and come from a `Table`: nothing a user types becomes SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flowledger.events.errors import InputError
from flowledger.projections.selecting import (
    AllOf,
    AnyOf,
    Compares,
    Condition,
    Fits,
    Holds,
    InTable,
    IsEmpty,
    IsIn,
    Not,
    Select,
)
from flowledger.projections.tables import Column, Table

#: Where the tables and checkpoints of projections are listed.
SLOTS = "projections"
SLOT_COLUMNS = "projection, number, version, live, cursor, events, run_id, at_version, hash, time_us"
_HOW = ("<", "<=", ">", ">=")


@dataclass(frozen=True)
class Dialect:
    """How one database says it. ``bound`` stands for a value; ``value`` makes it fit for the database.

    ``fits`` and ``holds`` are conditions on ``{column}`` and a bound pattern, which `glob` and `like` make. ``among``
    says that it is one of a list that is bound as one value; "": the database takes no lists.
    """

    bound: str
    place: str  # stands before each table's name
    fits: str
    holds: str
    glob: Callable[[str], str]
    value: Callable[[Any], Any]
    among: str = ""


def quoted(name: str) -> str:
    """An identifier. Names have been checked already (`tables.check_name`); the quotes keep keywords apart."""
    return f'"{name}"'


def physical(projection: str, number: int, table: str) -> str:
    """The name of a table of a slot."""
    return f"{projection}_{number}_{table}"


def like(text: str) -> str:
    """A pattern for LIKE that matches what has ``text`` in it; the escape is ``\\``."""
    return "%" + _escaped(text) + "%"


def like_glob(pattern: str) -> str:
    """A pattern for LIKE from one with ``*``."""
    return "%".join(map(_escaped, pattern.split("*")))


def sqlite_glob(pattern: str) -> str:
    """A pattern for SQLite's GLOB, in which only ``*`` stands for something."""
    return "".join(f"[{c}]" if c in "?[" else c for c in pattern)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


class Compiler:
    """Makes one statement. ``values`` are bound in the order in which they stand in it."""

    def __init__(self, dialect: Dialect, projection: str, number: int) -> None:
        self._dialect = dialect
        self._projection = projection
        self._number = number
        self.values: list[Any] = []

    def select(self, select: Select) -> str:
        """The statement for a page of rows."""
        text = " INTERSECT ".join(map(self._rows, (select, *select.also)))
        if select.order:
            way = " DESC" if select.descending else ""
            text += " ORDER BY " + ", ".join(self._name(select.table, name) + way for name in select.order)
        text += f" LIMIT {self._bind(select.limit)}"
        return text + (f" OFFSET {self._bind(select.skip)}" if select.skip else "")

    def _rows(self, select: Select) -> str:
        table = select.table
        columns = ", ".join(self._name(table, name) for name in select.columns or table.names)
        text = f"SELECT {columns} FROM {self.table(table)}"  # noqa: S608 - quoted names of the table
        parts = [self._condition(table, condition) for condition in select.where]
        if select.after is not None:
            parts.append(self._beyond(select, select.after))
        if parts:
            text += " WHERE " + " AND ".join(parts)
        return text

    def table(self, table: Table) -> str:
        """A table of the slot, with where it is."""
        return self._dialect.place + quoted(physical(self._projection, self._number, table.name))

    def _name(self, table: Table, name: str) -> str:
        if name not in table.names:
            raise InputError(
                f"table {table.name} has no column {name!r}", field="column", given=name,
                expected=", ".join(table.names), hint=f"it has {', '.join(table.names)}",
            )  # fmt: skip
        return quoted(name)

    def _bind(self, value: Any) -> str:
        self.values.append(self._dialect.value(value))
        return self._dialect.bound

    def _beyond(self, select: Select, after: Sequence[Any]) -> str:
        names = ", ".join(self._name(select.table, name) for name in select.order)
        values = ", ".join(self._bind(value) for value in after)
        return f"({names}) {'<' if select.descending else '>'} ({values})"

    def _condition(self, table: Table, condition: Condition) -> str:
        match condition:
            case IsIn(column, values):
                name = self._name(table, column)
                if len(values) == 1:
                    return f"{name} = {self._bind(values[0])}"
                return self._among(name, values) if values else "1 = 0"
            case IsEmpty(column):
                return f"{self._name(table, column)} IS NULL"
            case Fits(column, pattern):
                name = self._name(table, column)
                return self._dialect.fits.format(column=name, bound=self._bind(self._dialect.glob(pattern)))
            case Holds(column, text):
                name = self._name(table, column)
                return self._dialect.holds.format(column=name, bound=self._bind(like(text)))
            case Compares():
                return self._compares(table, condition)
            case Not(inner):
                return f"NOT coalesce({self._condition(table, inner)}, 1 = 0)"
            case AnyOf(conditions):
                return f"({' OR '.join(self._condition(table, each) for each in conditions) or '1 = 0'})"
            case AllOf(conditions):
                return f"({' AND '.join(self._condition(table, each) for each in conditions) or '1 = 1'})"
            case InTable():
                return self._in_table(table, condition)

    def _among(self, name: str, values: Sequence[Any]) -> str:
        if not self._dialect.among:
            return f"{name} IN ({', '.join(self._bind(value) for value in values)})"
        self.values.append([self._dialect.value(value) for value in values])
        return self._dialect.among.format(column=name, bound=self._dialect.bound)

    def _compares(self, table: Table, condition: Compares) -> str:
        if condition.how not in _HOW:
            raise InputError(f"{condition.how!r} does not compare", field="how", given=condition.how)
        number = self._name(table, condition.column)
        if condition.otherwise is not None:
            number = f"coalesce({number}, {self._bind(condition.otherwise)})"
        if condition.since is not None:
            number = f"({number} - {self._name(table, condition.since)})"
        return f"{number} {condition.how} {self._bind(condition.value)}"

    def _in_table(self, table: Table, condition: InTable) -> str:
        other = condition.table
        name, theirs = self._name(table, condition.column), self._name(other, condition.theirs)
        parts = [self._condition(other, each) for each in condition.conditions]
        # Names inside are those of the inner table; the outer one's stands in front of its own.
        same = f"{theirs} = {self.table(table)}.{name}"
        return f"EXISTS (SELECT 1 FROM {self.table(other)} WHERE {' AND '.join([*parts, same])})"  # noqa: S608


def create_table(
    name: str, table: Table, type_of: Callable[[Column], str], options: str, columns: Sequence[Column] = ()
) -> str:
    """The statement that makes a table; ``name`` is quoted already. ``columns``: as they lie in it, if not as said."""
    said = [
        f"{quoted(column.name)} {type_of(column)}{'' if column.optional else ' NOT NULL'}"
        for column in columns or table.every
    ]
    key = ", ".join(quoted(column) for column in table.key_names)
    return f"CREATE TABLE {name} ({', '.join(said)}, PRIMARY KEY ({key})){options}"


def create_indexes(name: str, plain: str, table: Table) -> list[str]:
    """The statements that make its indexes; ``plain`` is the table's name without quotes and place.

    Rows without a value in the first column are in none: they are looked up by what they have.
    """
    optional = {column.name for column in table.every if column.optional}
    return [
        f"CREATE INDEX {quoted(f'{plain}_by{number}')} ON {name} ({', '.join(quoted(c) for c in columns)})"
        f"{f' WHERE {quoted(columns[0])} IS NOT NULL' if columns[0] in optional else ''}"
        for number, columns in enumerate(table.indexes, start=1)
    ]


def names_of(table: Table) -> str:
    """All columns, quoted."""
    return ", ".join(quoted(name) for name in table.names)


def on_conflict(table: Table) -> str:
    """What an insert does that meets a row: put all other columns in its place."""
    key = ", ".join(quoted(name) for name in table.key_names)
    others = table.names[len(table.key_names) :]
    if not others:
        return f"ON CONFLICT ({key}) DO NOTHING"
    sets = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
    return f"ON CONFLICT ({key}) DO UPDATE SET {sets}"
