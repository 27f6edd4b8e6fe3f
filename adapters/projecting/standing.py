"""How projections stand, and making one anew: what `flowledger projections` shows and does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from flowledger.adapters.stores.views import views_of
from flowledger.events.store import Hidden, Store
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Projection
from flowledger.projections.view_store import Slot, ViewStore

from .catching_up import behind_by_us
from .projector import Projector, rebuild


@dataclass(frozen=True, slots=True)
class Standing:
    """One set of tables. ``behind_us``: how long the oldest event it lacks has been in the log; 0: it lacks none.

    ``rows`` says how many each table has, where that is known.
    """

    slot: Slot
    behind_us: int
    rows: Mapping[str, int] = field(default_factory=dict[str, int])


class Standings(NamedTuple):
    """All projections of a log, where their tables are, and what the log does not give out to them yet (H2)."""

    where: str
    projections: Sequence[Standing]
    hidden: Hidden | None = None


class Rebuilt(NamedTuple):
    """The slot that is read now; ``equal``: whether its rows are those there were, None if nobody compared."""

    slot: Slot
    equal: bool | None


def standings(store: Store, *, rows: bool = False) -> Standings:
    """How the projections of a log stand; ``rows`` counts those of the built-in one (which takes a while)."""
    with closing(views_of(store)) as views:
        found = [_standing(store, views, slot, rows=rows) for slot in views.slots() if slot.projection != "deliveries"]
        return Standings(views.describe(), found, store.hidden())


def _standing(store: Store, views: ViewStore, slot: Slot, *, rows: bool) -> Standing:
    behind_us = behind_by_us(store, slot.mark.cursor, store.now_us())
    counted = rows and (slot.projection, slot.version) == (HISTORY.name, HISTORY.version)
    tables = HISTORY.tables if counted else ()
    return Standing(slot, behind_us, {table.name: views.count(slot, table) for table in tables})


def rebuilt(store: Store, projection: Projection, *, compare: bool = False) -> Rebuilt:
    """Make the tables of a projection anew; ``compare`` needs a log to which nobody writes meanwhile."""
    with closing(views_of(store)) as views:
        if not compare:
            return Rebuilt(rebuild(store, views, projection), None)
        Projector(store, views, projection).catch_up(within_s=float("inf"))
        live = next(slot for slot in views.slots() if slot.projection == projection.name and slot.live)
        before = views.digest(projection, live)
        slot = rebuild(store, views, projection)
        same = slot.mark.events == live.mark.events
        return Rebuilt(slot, views.digest(projection, slot) == before if same else None)
