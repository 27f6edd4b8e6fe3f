"""Several projections over one log: each with a checkpoint of its own, and none that stops the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from flowledger.adapters.stores.views import views_of
from flowledger.events.errors import FoldFailed
from flowledger.events.store import START, Cursor, Store
from flowledger.projections.projection import Projection
from flowledger.projections.view_store import ViewStore

from .catching_up import Progress, caught_up
from .projector import BATCH, Projector

_LOG: Final = logging.getLogger("flowledger.projector")


class Together:
    """The projectors of one process. ``views`` are theirs to close. One thread at a time."""

    def __init__(self, store: Store, views: ViewStore, projections: Sequence[Projection]) -> None:
        self.views = views
        self._store = store
        self._projectors = [Projector(store, views, projection) for projection in projections]
        self._failed: set[str] = set()
        self._in_vain: Cursor | None = None

    @classmethod
    def over(cls, store: Store, projections: Sequence[Projection]) -> Self:
        """With the views of this store.

        Raises:
            StoreUnavailable, SchemaTooOld: they cannot be opened.
        """
        return cls(store, views_of(store), projections)

    @property
    def projectors(self) -> Sequence[Projector]:
        """All, in the order of their projections."""
        return self._projectors

    @property
    def failed(self) -> bool:
        """Whether the fold of one has raised."""
        return bool(self._failed)

    @property
    def events(self) -> int:
        """Events taken in by all of them."""
        return sum(projector.events for projector in self._projectors)

    @property
    def cursor(self) -> Cursor:
        """A place up to which all have come that work."""
        working = [p for p in self._projectors if p.projection.name not in self._failed]
        marks = [p.slot.mark.cursor for p in working if p.slot is not None]
        return marks[0] if marks and all(mark == marks[0] for mark in marks) else START

    def round(self, *, limit: int = BATCH) -> Progress:
        """One batch of each. A projection whose fold raises is left out from then on, and said.

        Raises:
            StoreUnavailable
        """
        events, waits, more = 0, False, False
        for projector in self._projectors:
            if projector.projection.name in self._failed:
                continue
            try:
                done = projector.turn(limit=limit)
            except FoldFailed as error:
                self._failed.add(projector.projection.name)
                _LOG.error("%s; this process goes on without it", error.message)
                continue
            events += done.events
            waits |= done.waits
            more |= done.more
        return Progress(events, waits, more)

    def catch_up(self, *, within_s: float, limit: int = BATCH) -> bool:
        """Go on until nothing is left, or the time is over. True: nothing is left.

        Raises:
            StoreUnavailable
        """
        done = caught_up(
            self._store, lambda: self.round(limit=limit), lambda: self.cursor, within_s=within_s, in_vain=self._in_vain
        )
        self._in_vain = None if done else self.cursor
        return done and not self.failed

    def close(self) -> None:
        """Free the views."""
        with suppress(Exception):
            self.views.close()
