"""Tables of views, as values: what a projection keeps, before anybody knows which database keeps it.

Tables are disposable: they are made from the log, and can be made anew from it at any time (rule H1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final, get_args, get_origin

from flowledger.events.errors import DefinitionError

Value = str | int | float | bytes | None
#: A row by the names of its columns.
Row = dict[str, Any]
#: Whole numbers of at most so many bits, for tables of very many rows: they take less room than an ``int``, of 64.
Int16 = Annotated[int, 16]
Int32 = Annotated[int, 32]
#: The values of a row's key columns, in their order.
Key = tuple[Any, ...]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,29}")
_NONE: Final = type(None)
_EMPTY: Final[dict[type, Value]] = {str: "", int: 0, float: 0.0, bytes: b""}


def check_name(name: str, what: str) -> str:
    """The name, if it can be part of a table's name anywhere.

    Raises:
        DefinitionError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{what} {name!r}: a name has 1 to 30 lower-case letters, digits and _, and begins with a letter"
        )
    return name


@dataclass(frozen=True)
class Column:
    """One column: ``type`` is str, int (of so many ``bits``), float or bytes."""

    name: str
    type: type
    optional: bool = False
    bits: int = 64

    @property
    def empty(self) -> Value:
        """What a new row has here."""
        return None if self.optional else _EMPTY[self.type]


@dataclass(frozen=True)
class Table:
    """A table of a projection: ``key`` names what tells rows apart, ``columns`` what else they hold, each with a type.

    Types are ``str``, ``int`` (or `Int32`, `Int16`), ``float`` and ``bytes``; of columns that may be empty also
    ``str | None`` and so on. A new row holds "", 0, 0.0, b"" or None. ``indexes`` are column names by which rows are
    looked up. ``soon_done``: a row changes once or twice, soon after it came, and then never again.

    Raises:
        DefinitionError: a name or a type does not fit.
    """

    name: str
    key: Mapping[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    indexes: tuple[tuple[str, ...], ...] = ()
    soon_done: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "table")
        if not self.key:
            raise DefinitionError(f"table {self.name}: it needs a key, by which rows are told apart")
        for column in self.every:
            check_name(column.name, f"table {self.name}, column")
        names = [column.name for column in self.every]
        if len(set(names)) < len(names):
            raise DefinitionError(f"table {self.name}: a column stands in it twice")
        if any(column.optional for column in self.every[: len(self.key)]):
            raise DefinitionError(f"table {self.name}: a column of the key cannot be empty")
        if unknown := {name for index in self.indexes for name in index} - set(names):
            raise DefinitionError(f"table {self.name}: an index names {', '.join(sorted(unknown))}, which it has not")

    @cached_property
    def every(self) -> tuple[Column, ...]:
        """All columns, those of the key first."""
        return tuple(_column(self.name, *item) for item in (*self.key.items(), *self.columns.items()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, those of the key first."""
        return tuple(column.name for column in self.every)

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key columns."""
        return tuple(self.key)

    @cached_property
    def _new(self) -> Row:
        return {column.name: column.empty for column in self.every}

    def new(self, key: Key) -> Row:
        """An empty row under this key."""
        return {**self._new, **dict(zip(self.key_names, key, strict=True))}


def _column(table: str, name: str, annotation: Any) -> Column:
    is_one = get_origin(annotation) is Annotated or not get_args(annotation)
    options = (annotation,) if is_one else get_args(annotation)
    kinds = [kind for kind in options if kind is not _NONE]
    if len(kinds) == 1 and get_origin(kinds[0]) is Annotated:
        kind, bits = get_args(kinds[0])
        return Column(name, kind, optional=_NONE in options, bits=bits)
    if len(kinds) != 1 or kinds[0] not in _EMPTY:
        given = getattr(annotation, "__name__", str(annotation))
        raise DefinitionError(
            f"table {table}, column {name}: {given} cannot be kept",
            hint="a column is str, int, float or bytes, or one of them | None",
        )
    return Column(name, kinds[0], optional=_NONE in options)
