"""The life signs of a worker, on a thread of their own: a body cannot stop them (rules B2, C3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic
from typing import Final

from flowledger.adapters.timekeeping import SyncedClock
from flowledger.events.claims import AttemptClaims, AttemptKey, Sign, WorkerRow
from flowledger.events.errors import StoreError

#: Between two signs: while something is made (who is not wanted any more hears of it then), and while nothing is.
BUSY_S: Final = 1.0
IDLE_S: Final = 5.0
#: A worker that could not be heard for so long takes nothing more: others may soon take it for dead (`LOST_S`).
FENCE_S: Final = 15.0
#: The clock is set right so often.
SYNC_S: Final = 5.0

_LOG = logging.getLogger("flowledger.worker")


class Beating:
    """Says that the worker lives. ``signs`` and ``row`` say what is to be said, ``unwanted`` is called with answers.

    Args:
        claims: where it is said.
        clock: is set right with the store's.
        row: the worker as it is now.
        signs: what it makes now.
        unwanted: told of attempts that nobody wants any more, or that are another's.
        fenced: called when nothing could be said for `FENCE_S`.
    """

    def __init__(
        self,
        claims: AttemptClaims,
        clock: SyncedClock,
        *,
        row: Callable[[], WorkerRow],
        signs: Callable[[], Sequence[Sign]],
        unwanted: Callable[[Sequence[AttemptKey]], None],
        fenced: Callable[[], None],
    ) -> None:
        self._claims = claims
        self._clock = clock
        self._row = row
        self._signs = signs
        self._unwanted = unwanted
        self._on_fenced = fenced
        self._said_at = self._synced_at = monotonic()
        self._was_fenced = False
        self._stop = Event()
        self._thread = Thread(target=self._run, name="flowledger-worker-beat", daemon=True)
        self._thread.start()

    @property
    def fenced(self) -> bool:
        """Whether it could not be heard for so long that it may begin nothing more. It may again once it is heard."""
        return monotonic() - self._said_at >= FENCE_S

    def close(self) -> None:
        """Say nothing more."""
        self._stop.set()
        self._thread.join(IDLE_S)

    def _run(self) -> None:
        pause_s = BUSY_S
        while not self._stop.wait(pause_s):
            signs = self._signs()
            pause_s = BUSY_S
            if signs or monotonic() - self._said_at >= IDLE_S - BUSY_S / 2:
                self._say(signs)

    def _say(self, signs: Sequence[Sign]) -> None:
        asked = monotonic()
        try:
            unwanted = self._claims.beat(self._row(), signs)
            if asked - self._synced_at >= SYNC_S:
                self._clock.sync()
                self._synced_at = asked
        except StoreError as error:
            _LOG.warning("the worker could not be heard: %s", error.message)
            if self.fenced and not self._was_fenced:
                self._was_fenced = True
                _LOG.error("the worker could not be heard for %g s and takes nothing more", FENCE_S)
                self._on_fenced()
            return
        self._said_at, self._was_fenced = asked, False
        if unwanted:
            self._unwanted(unwanted)
