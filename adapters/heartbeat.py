"""The life sign of this process (rule B2): one owner row, beaten by a thread of its own.

Two threads, because the store may be what hangs: one beats, the other watches the time since the last beat that
succeeded and fences this process before others may take it for dead (15 s, against their 20 s).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Event, Thread, current_thread
from time import monotonic, monotonic_ns

from flowledger.events.errors import Fenced, StoreError
from flowledger.events.store import Owner, Store

from .clock import Reading
from .ids import new_ulid
from .timekeeping import SyncedClock

HEARTBEAT_S = 5.0
FENCE_S = 15.0
#: Others take over from an owner that was not seen for so long (`Store.claim`).
TAKEOVER_S = 20.0
#: A beat that took longer than this tells too little of what time it is: nobody knows when in between it was read.
READING_S = 0.05

_LOG = logging.getLogger("flowledger.heartbeat")


class Heartbeat:
    """Joins the store as a new owner, and keeps saying that it lives until `close`.

    Args:
        store: where the owner's row is.
        app: the name of the app whose runs this process may own.
        on_fenced: called once, on a thread of the heartbeat, when no beat has succeeded for ``fence_s`` seconds or
            the owner's row is gone: every run of this process must stop.
        on_beat: called after each beat that succeeded, on a thread of the heartbeat.
        clock: is synchronised by what each beat answers (F1), so that this needs no statement of its own.
        heartbeat_s: seconds between beats.
        fence_s: seconds without a successful beat after which this process must stop.

    Raises:
        StoreUnavailable: the owner's row cannot be made.
    """

    def __init__(
        self,
        store: Store,
        *,
        app: str,
        on_fenced: Callable[[], None] | None = None,
        on_beat: Callable[[], None] | None = None,
        clock: SyncedClock | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        fence_s: float = FENCE_S,
    ) -> None:
        self.owner = Owner(id=new_ulid(), host=socket.gethostname(), pid=os.getpid(), app=app)
        self._store = store
        self._clock = clock
        self._on_fenced = on_fenced
        self._on_beat = on_beat
        self._heartbeat_s = heartbeat_s
        self._fence_s = fence_s
        self._stop = Event()
        self._changed = Condition()
        self._fenced = False
        asked = monotonic()
        store.join(self.owner)
        self._last_beat = asked
        self._threads = [
            Thread(target=work, name=f"flowledger-{name}", daemon=True)
            for name, work in (("heartbeat", self._beat_on), ("watch", self._watch))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def fenced(self) -> bool:
        """This process may own nothing any more. Never becomes False again: start a new heartbeat."""
        return self._fenced or monotonic() - self._last_beat >= self._fence_s

    def close(self) -> None:
        """Stop beating and leave; what is still owned becomes claimable. Waits a little for a beat under way."""
        self._end()
        for thread in self._threads:
            if thread is not current_thread():
                thread.join(self._heartbeat_s)
        with suppress(StoreError):  # then the presence lock or the time tells the others
            self._store.leave(self.owner.id)

    def _beat_on(self) -> None:
        pause_s = self._heartbeat_s
        while not self._stop.wait(pause_s) and not self.fenced:
            pause_s = self._heartbeat_s if self._beat() else min(1.0, self._heartbeat_s)

    def _beat(self) -> bool:
        asked = monotonic()
        try:
            asked_ns = monotonic_ns()
            store_us = self._store.beat(self.owner.id)
            self._set_right(Reading(asked_ns, store_us, monotonic_ns()))
        except Fenced:
            self._fence("its row is gone")
            return False
        except StoreError as error:
            _LOG.warning("heartbeat of %s failed: %s", self.owner.id, error)
            return False
        with self._changed:
            self._last_beat = asked
            self._changed.notify_all()
        if self._on_beat is not None:
            self._on_beat()
        return True

    def _set_right(self, reading: Reading) -> None:
        if self._clock is not None:
            took_s = (reading.answered_ns - reading.asked_ns) / 1e9
            self._clock.sync(reading if took_s <= READING_S else None)

    def _watch(self) -> None:
        with self._changed:
            while not self._stop.is_set():
                left_s = self._last_beat + self._fence_s - monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
        if not self._stop.is_set():
            self._fence(f"no heartbeat succeeded for {self._fence_s:g} s")

    def _fence(self, why: str) -> None:
        with self._changed:
            if self._fenced:
                return
            self._fenced = True
        self._end()
        _LOG.error("owner %s is fenced: %s", self.owner.id, why)
        if self._on_fenced is not None:
            self._on_fenced()

    def _end(self) -> None:
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
