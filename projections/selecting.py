"""What is asked of tables, as values. Adapters make SQL of it, with every value bound and every name looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .tables import Key, Table, Value

Comparison = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class IsIn:
    """The column has one of these values."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The column has no value."""

    column: str


@dataclass(frozen=True, slots=True)
class Fits:
    """The text fits a pattern in which ``*`` stands for anything, also nothing. Upper and lower case differ."""

    column: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Holds:
    """The text has this in it; upper and lower case of ASCII letters are the same."""

    column: str
    text: str


@dataclass(frozen=True, slots=True)
class Compares:
    """The value compares like this; an empty one never does. ``since``: its distance from that column.

    ``otherwise`` is taken where ``column`` is empty (an end that has not come).
    """

    column: str
    how: Comparison
    value: int | str
    since: str | None = None
    otherwise: int | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """What does not fulfil the condition; also where a column is empty."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of them hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class InTable:
    """The column's value is in another table of the projection, in a row that fulfils all the conditions.

    It is looked up for each row of this table.
    """

    column: str
    table: Table
    theirs: str
    conditions: tuple[Condition, ...]


Condition = IsIn | IsEmpty | Fits | Holds | Compares | Not | AnyOf | AllOf | InTable


@dataclass(frozen=True, slots=True)
class Select:
    """Rows of a table that fulfil all conditions, in the order of some columns, a page of them (keyset).

    ``after`` are the values of the ``order`` columns in the last row of the page before; ``skip`` rows are left out.
    ``also``: only rows that these select, too; all of them have the same columns, and only the first has an order.
    """

    table: Table
    where: tuple[Condition, ...] = ()
    order: tuple[str, ...] = ()
    descending: bool = False
    after: Key | None = None
    limit: int = 50
    skip: int = 0
    columns: tuple[str, ...] = field(default=())
    also: tuple[Select, ...] = ()
