"""The global log and places in it (rule A4): ordered by generation, transaction, position, up to the horizon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import InputError
from flowledger.events.store import Cursor, Followed

from .wire import original

_CURSOR: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,20})-([0-9]{1,19})", re.ASCII)


class Place(NamedTuple):
    """A place in the global log; compares as the log is ordered."""

    generation: int
    xid: int
    position: int

    def cursor(self) -> Cursor:
        """The place as it is handed out."""
        return Cursor(f"{self.generation}-{self.xid}-{self.position}")


BEGINNING: Final = Place(0, 0, 0)
END: Final = Place(2**15 - 1, 2**64 - 1, 2**63 - 1)


def place_of(cursor: Cursor) -> Place:
    """The place behind a cursor.

    Raises:
        InputError: it is not one of this store.
    """
    if not cursor:
        return BEGINNING
    found = _CURSOR.fullmatch(cursor)
    place = Place(int(found[1]), int(found[2]), int(found[3])) if found else None
    if place is None or any(part > last for part, last in zip(place, END, strict=True)):
        raise InputError(f"{str(cursor)!r} is not a cursor of this store", field="cursor", given=str(cursor))
    return place


def event_of(row: Sequence[Any]) -> StoredEvent:
    """An event from its row."""
    event = StoredEvent(*row)
    if "\x01" in event.path or "\x01" in event.actor or "\x01" in event.type:
        return replace(event, path=original(event.path), actor=original(event.actor), type=original(event.type))
    return event


def followed(row: Sequence[Any]) -> Followed:
    """An event met on the global log, from its row: generation, xid, position, run id, event."""
    place = Place(row[0], int(row[1]), row[2])
    return Followed(place.cursor(), original(row[3]), event_of(row[4:]))
