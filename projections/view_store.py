"""The contract of what keeps views: tables and checkpoints (rule H1; one conformance suite runs on each kind).

Tables of one projection stand in a *slot*; a rebuild fills the next slot beside the one that is read, then the two
change places in one transaction. All methods block, may be called from any thread, and raise `StoreUnavailable` when
the database cannot be reached or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from flowledger.events.store import START, Cursor

from .projection import Projection
from .rows import Changes, RowSource
from .selecting import Select
from .tables import Row, Table


class Mark(NamedTuple):
    """How far a projection has got: after ``events`` events, of which the last is ``version`` of ``run_id``.

    ``hash`` is that event's, so that a log that was put back or replaced is noticed. ``time_us`` is that event's.
    """

    cursor: Cursor = START
    events: int = 0
    run_id: str = ""
    version: int = 0
    hash: bytes = b""
    time_us: int = 0


class Slot(NamedTuple):
    """The tables of a projection that were made by ``version`` of it. ``live``: they are the ones people read."""

    projection: str
    number: int
    version: int
    live: bool
    mark: Mark


class Turn(RowSource, Protocol):
    """One batch of one projector, in one transaction."""

    def write(self, changes: Sequence[Changes]) -> None:
        """Write rows and delete keys."""
        ...

    def advance(self, mark: Mark) -> None:
        """Move the checkpoint."""
        ...


class ViewStore(Protocol):
    """Tables and checkpoints."""

    def slots(self) -> list[Slot]:
        """All slots there are, by projection and number."""
        ...

    def make(self, projection: Projection, *, number: int, live: bool) -> Slot:
        """A slot with empty tables; the one that is there already, if somebody else was first."""
        ...

    def turn(self, projection: Projection, slot: Slot) -> AbstractContextManager[Turn | None]:
        """A transaction that holds the slot, committed at the end; None where it no longer stands as ``slot`` says.

        While one holds it others stand by.
        """
        ...

    def swap(self, projection: Projection, old: Slot, new: Slot) -> bool:
        """Have the new slot read instead of the old one, whose tables go. False: the old one is further ahead."""
        ...

    def drop(self, slot: Slot) -> None:
        """Remove a slot and its tables."""
        ...

    def select(self, projection: str, select: Select) -> list[Row]:
        """Rows of the live slot.

        Raises:
            ViewsMissing: there are no tables of this projection yet.
        """
        ...

    def digest(self, projection: Projection, slot: Slot) -> bytes:
        """SHA-256 over all rows of all tables, in the order of their keys: equal tables, equal bytes."""
        ...

    def count(self, slot: Slot, table: Table) -> int:
        """How many rows a table has."""
        ...

    def describe(self) -> str:
        """Where the tables are, for people."""
        ...

    def close(self) -> None:
        """Free connections."""
        ...
