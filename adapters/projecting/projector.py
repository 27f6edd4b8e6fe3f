"""One projection over one log: batch by batch, exactly once (rules A4, H1).

A batch is read and opened before its transaction begins; the transaction then holds the checkpoint, sees that nobody
else has moved it, writes rows and moves it. So it does not matter how many projectors there are, or when one dies.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from flowledger.events.codec import decode
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FlowledgerError, FoldFailed, IntegrityError, SchemaTooNew
from flowledger.events.store import START, Followed, Store
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Rows, SourceFailed
from flowledger.projections.tables import Key, Table
from flowledger.projections.view_store import Mark, Slot, Turn, ViewStore

from .catching_up import Progress, behind_by_us, caught_up

#: Events of one transaction.
BATCH: Final = 2_000

_LOG: Final = logging.getLogger("flowledger.projector")


class Projector:
    """Moves one projection on. One thread at a time.

    The tables of an older version of the projection stay readable until those of this one have caught up.
    """

    def __init__(self, store: Store, views: ViewStore, projection: Projection) -> None:
        self.projection = projection
        self.events = 0  # taken in by this projector
        self._store = store
        self._views = views
        self._rows = Rows(projection.tables, store.plan)
        self._slot: Slot | None = None
        self._checked = False
        self._skipped: set[str] = set()

    def step(self, *, limit: int = BATCH) -> int | None:
        """Take in the next batch: how many events it had; None where another projector is at it, or is newer.

        Raises:
            StoreUnavailable: nothing has happened.
            FoldFailed: the projection's own code raised; nothing has happened.
        """
        slot = self._slot or self._found()
        if slot is None:
            return None
        done = self._advance(slot, limit)
        if not done and self._slot is not None and not self._slot.live:
            self._swap(self._slot)
        return done

    def catch_up(self, *, within_s: float, limit: int = BATCH) -> bool:
        """Go on until there is nothing left, or the time is over. True: there is nothing left.

        Raises:
            StoreUnavailable, FoldFailed
        """
        return caught_up(
            self._store, lambda: self.turn(limit=limit), lambda: self._slot.mark.cursor if self._slot else START,
            within_s=within_s,
        )  # fmt: skip

    def turn(self, *, limit: int = BATCH) -> Progress:
        """`step`, and whether there is more to do: tables that are not read yet are, once nothing is left for them.

        Raises:
            As `step`.
        """
        done = self.step(limit=limit)
        is_made = self._slot is not None and not self._slot.live
        return Progress(done or 0, waits=done is None, more=done == limit or bool(done and is_made))

    def behind_us(self, now_us: int) -> int:
        """How long the oldest event that is not in the tables has been in the log, in microseconds; 0: all are."""
        slot = self._slot or self._found()
        return 0 if slot is None else behind_by_us(self._store, slot.mark.cursor, now_us)

    @property
    def slot(self) -> Slot | None:
        """The slot this projector fills, as it was last seen."""
        return self._slot

    # -- which tables ---------------------------------------------------------------------------

    def _found(self) -> Slot | None:
        """The slot to fill, made where there is none; None where tables of a newer version are read."""
        mine = self.projection
        self._rows.forget()
        slots = [slot for slot in self._views.slots() if slot.projection == mine.name]
        live = next((slot for slot in slots if slot.live), None)
        if live is None:
            self._slot = self._views.make(mine, number=max((slot.number for slot in slots), default=0) + 1, live=True)
        elif live.version == mine.version:
            self._slot = live if self._checked or self._fits(live) else self._afresh(live)
        elif live.version < mine.version:
            self._slot = self._beside(live, slots)
        else:
            self._slot = None
            return None
        self._checked = True
        return self._slot

    def _fits(self, slot: Slot) -> bool:
        """Whether the event at the checkpoint is still in the log: else another log has taken its place (a restore)."""
        mark = slot.mark
        if not mark.events:
            return True
        found = self._store.read(mark.run_id, after_version=mark.version - 1, limit=1)
        return bool(found) and found[0].hash == mark.hash

    def _afresh(self, slot: Slot) -> Slot:
        _LOG.warning(
            "projection %s: the log is not the one its tables were made from; they are made anew", slot.projection
        )
        self._views.drop(slot)
        return self._views.make(self.projection, number=slot.number + 1, live=True)

    def _beside(self, live: Slot, slots: Sequence[Slot]) -> Slot:
        """The slot of this version, which is not read yet."""
        for slot in slots:
            if not slot.live and slot.version == self.projection.version:
                return slot
        return self._views.make(self.projection, number=max(slot.number for slot in slots) + 1, live=False)

    def _swap(self, slot: Slot) -> None:
        """The new tables have caught up: have them read."""
        live = next((s for s in self._views.slots() if s.projection == slot.projection and s.live), None)
        if live is not None and live.version < slot.version:
            self._views.swap(self.projection, live, slot)
        self._slot = None

    # -- one batch ------------------------------------------------------------------------------

    def _advance(self, slot: Slot, limit: int) -> int | None:
        met = self._store.read_all(slot.mark.cursor, limit=limit)
        if not met:
            return 0
        envelopes = [envelope for each in met if (envelope := self._opened(each)) is not None]
        last = met[-1]
        mark = Mark(
            last.cursor, slot.mark.events + len(met), last.run_id, last.event.version, last.event.hash,
            last.event.time_us,
        )  # fmt: skip
        try:
            with self._views.turn(self.projection, slot) as turn:
                if turn is None:  # somebody else has moved it
                    self._lose()
                    return None
                self._fold(turn, envelopes)
                turn.advance(mark)
        except BaseException:
            self._lose()
            raise
        self._rows.settled()
        self._slot = slot._replace(mark=mark)
        self.events += len(met)
        return len(met)

    def _lose(self) -> None:
        self._rows.forget()
        self._slot = None

    def _fold(self, turn: Turn, envelopes: Sequence[Envelope]) -> None:
        rows, fold = self._rows, self.projection.fold
        rows.begin(turn)
        try:
            self._expect(envelopes)
        except SourceFailed as failed:
            raise failed.error from None
        for envelope in envelopes:
            try:
                fold(rows, envelope)
            except SourceFailed as failed:  # the database, not the fold
                raise failed.error from None
            except FlowledgerError:
                raise
            except Exception as error:
                raise FoldFailed(
                    f"projection {self.projection.name}: its fold raised {type(error).__name__}: {error} at event "
                    f"{envelope.version} ({envelope.type}) of run {envelope.run_id}"
                ) from error
        try:
            changes = rows.changes()
        except KeyError as error:
            raise FoldFailed(f"projection {self.projection.name}: {error.args[0]}") from error
        turn.write(changes)

    def _expect(self, envelopes: Sequence[Envelope]) -> None:
        expected: dict[str, tuple[Table, list[Key]]] = {}
        wanted = self.projection.wanted
        for envelope in envelopes:
            for table, key in wanted(envelope):
                if table.name not in expected:
                    expected[table.name] = (table, [])
                expected[table.name][1].append(key)
        for table, keys in expected.values():
            self._rows.expect(table, keys)

    def _opened(self, met: Followed) -> Envelope | None:
        """The event; None for one that a newer release has written: it is passed over, and said once per type."""
        stored = met.event
        try:
            event = decode(stored.type, stored.schema_version, stored.payload)
        except (SchemaTooNew, IntegrityError) as error:
            if stored.type not in self._skipped:
                self._skipped.add(stored.type)
                _LOG.warning(
                    "projection %s passes over event %d of run %s: %s", self.projection.name, stored.version,
                    met.run_id, error.message,
                )  # fmt: skip
            return None
        return Envelope(met.run_id, stored.version, stored.path, stored.time_us, stored.actor, event, stored.hash)


def rebuild(store: Store, views: ViewStore, projection: Projection, *, limit: int = BATCH) -> Slot:
    """Make the tables anew beside those that are read, then have the new ones read instead (rule H1).

    Goes on with a rebuild that was cut off. The other projectors go on with the old tables meanwhile. Returns the slot
    that is read then.

    Raises:
        StoreUnavailable, FoldFailed: the old tables are still read.
    """
    slots = [slot for slot in views.slots() if slot.projection == projection.name]
    live = next((slot for slot in slots if slot.live), None)
    number = max((slot.number for slot in slots), default=0) + 1
    if live is None:
        live = views.make(projection, number=number, live=True)
        number += 1
    beside = next((s for s in slots if not s.live and s.version == projection.version), None)
    slot = beside or views.make(projection, number=number, live=False)
    filler = _Filler(store, views, projection, slot)
    while True:
        filler.fill(limit)
        if views.swap(projection, live, filler.filled):
            return filler.filled._replace(live=True)


class _Filler(Projector):
    """A projector that fills one slot, whichever is read."""

    def __init__(self, store: Store, views: ViewStore, projection: Projection, slot: Slot) -> None:
        super().__init__(store, views, projection)
        self.filled = slot

    def fill(self, limit: int) -> None:
        """Take in all there is."""
        while self._advance(self.filled, limit) is not None:
            if self._slot is None or self._slot == self.filled:
                return
            self.filled = self._slot
        self.filled = next(s for s in self._views.slots() if s[:2] == self.filled[:2])
