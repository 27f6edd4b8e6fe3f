"""Taking in what there is: until nothing is left, also of what somebody's open transaction hides for a while."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from flowledger.events.store import Cursor, Store

#: "For ever", for a lock.
_LONGEST_WAIT_S: Final = 3600.0


class Progress(NamedTuple):
    """What a round has done: ``events`` taken in; ``waits``: another projector is at one of them; ``more``: there was
    more than the round takes."""

    events: int
    waits: bool
    more: bool


def caught_up(
    store: Store,
    turn: Callable[[], Progress],
    place: Callable[[], Cursor],
    *,
    within_s: float,
    in_vain: Cursor | None = None,
) -> bool:
    """Take ``turn`` after turn until nothing is left of what was in the log when this began, or the time is over. True:
    nothing is left of that; what others append meanwhile is not waited for.

    What the log does not give out yet (H2) is waited for at the ``place`` reached; not at the place ``in_vain``, at
    which that has taken too long before.

    Raises:
        StoreUnavailable
    """
    deadline = monotonic() + within_s
    hidden = store.hidden()
    upto = hidden.upto if hidden is not None else None  # what is hidden later was not there when this began
    while True:
        done = turn()
        if hidden is None and not done.more and not done.waits:
            return True
        left_s = deadline - monotonic()
        if left_s <= 0:
            return False
        if hidden is None:
            continue
        at = place()
        is_stuck = not done.events and not done.waits
        if is_stuck and (at == in_vain or not store.wait(at, timeout_s=min(left_s, _LONGEST_WAIT_S))):
            return False
        hidden = store.hidden(upto=upto)


def behind_by_us(store: Store, place: Cursor, now_us: int) -> int:
    """For how long the first event after a place has been in the log, given out or not, in microseconds; 0: there is
    none.

    Raises:
        StoreUnavailable
    """
    waiting = store.read_all(place, limit=1)
    hidden = None if waiting else store.hidden()
    since_us = waiting[0].event.time_us if waiting else hidden.since_us if hidden else None
    return 0 if since_us is None else max(1, now_us - since_us)
