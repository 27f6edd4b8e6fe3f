"""A thread that looks out for jobs on behalf of a conductor, so that this claims only where there is one (B7)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

from flowledger.events.board import Board, Offer
from flowledger.events.errors import StoreError

from .refusals import Refusals

#: How long one wait lasts at most: so often the board says that there is nothing.
WAIT_S = 5.0
#: How long after the board was away it is asked again.
AWAY_S = 1.0
#: Where others were quicker, or have what was found under lock: how long to leave it to them, longer each time.
FIRST_VAIN_S = 0.02
LONGEST_VAIN_S = 0.5

_LOG = logging.getLogger("flowledger.conductor")


class Lookout:
    """Looks when told to, until it has seen a job. Methods are called on the conductor's loop.

    Args:
        board: where it looks.
        owner_id: for whom.
        offer: what for.
        refusals: jobs that are left to others for now.
        seen: called on the lookout's thread when there is a job. It looks no more until it is told to again.
    """

    def __init__(
        self, board: Board, owner_id: str, offer: Offer, *, refusals: Refusals, seen: Callable[[], None]
    ) -> None:
        self._board = board
        self._owner_id = owner_id
        self._offer = offer
        self._refusals = refusals
        self._seen = seen
        self._wanted = Event()
        self._stopped = Event()
        self._pause_s = 0.0
        self._thread = Thread(target=self._run, name="flowledger-lookout", daemon=True)
        self.heard_at = float("-inf")  # monotonic: when the board last said that there is nothing

    def look(self, *, in_vain: bool = False) -> None:
        """Look out. ``in_vain``: what was seen last could not be claimed."""
        if self._wanted.is_set():
            return
        self._pause_s = min(max(2 * self._pause_s, FIRST_VAIN_S), LONGEST_VAIN_S) if in_vain else 0.0
        self._wanted.set()
        if not self._thread.is_alive() and not self._stopped.is_set():
            self._thread.start()

    def stop(self) -> None:
        """Look no more. The wait under way is over within `WAIT_S`, or when the owner leaves the store."""
        self._stopped.set()
        self._wanted.set()

    # -- on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._stopped.wait(self._pause_s):
                return
            self._look()

    def _look(self) -> None:
        began = monotonic()
        try:
            found = self._waited()
        except StoreError as error:
            if not self._stopped.is_set():
                _LOG.warning("the job board does not answer: %s", error)
            self._pause_s = AWAY_S
            return
        if found:
            self._wanted.clear()
            self._seen()
        else:
            self.heard_at = monotonic()
            self._pause_s = 0.0 if self.heard_at > began + FIRST_VAIN_S else FIRST_VAIN_S  # we have left the store

    def _waited(self) -> bool:
        """Whether there is a job. It may end when one that was refused may be tried again."""
        timeout_s = min(WAIT_S, self._refusals.next_s())
        return self._board.wait(self._owner_id, self._offer, timeout_s=timeout_s, but=self._refusals.now())
