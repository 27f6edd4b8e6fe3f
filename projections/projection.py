"""What a projection is: a name, a version, tables, and a fold of the global log into them (rule H1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flowledger.events.envelope import Envelope
from flowledger.events.errors import DefinitionError

from .rows import Rows
from .tables import Key, Table, check_name

#: Takes in the next event: changes rows. Pure: the same events give the same rows, whatever the time and the machine.
Fold = Callable[[Rows, Envelope], None]
#: The rows that the fold will ask for at this event, so that a whole batch is read at once. May name too few.
Wanted = Callable[[Envelope], Iterable[tuple[Table, Key]]]


def _nothing(_: Envelope) -> Iterable[tuple[Table, Key]]:
    return ()


@dataclass(frozen=True)
class Projection:
    """A fold of the log into tables. Raise ``version`` with every change of the fold or of the tables.

    The tables of another version are left as they are until those of this one have been made from the whole log.

    Raises:
        DefinitionError: a name does not fit, the version is below 1, or there is no table.
    """

    name: str
    version: int
    tables: tuple[Table, ...]
    fold: Fold
    wanted: Wanted = _nothing

    def __post_init__(self) -> None:
        check_name(self.name, "projection")
        if self.version < 1:
            raise DefinitionError(f"projection {self.name}: a version is 1 or more, not {self.version}")
        names = [table.name for table in self.tables]
        if not names or len(set(names)) < len(names):
            raise DefinitionError(f"projection {self.name}: it needs tables, each with a name of its own")

    def table(self, name: str) -> Table:
        """The table of this name.

        Raises:
            DefinitionError: there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        known = ", ".join(table.name for table in self.tables)
        raise DefinitionError(f"projection {self.name} has no table {name!r}", hint=f"it has {known}")
