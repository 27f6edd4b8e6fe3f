"""How many bodies may be started in one lane, shared among all runs of a process (C1: a start needs a slot).

A slot is held while its start becomes durable. With as many slots as threads, no more starts than threads would ever
share a commit, and where bodies are short the threads would wait for the log. So a lane of short bodies hands out more
slots than it has places: as many as its places get through in `AHEAD_S`, by what its last bodies have taken. What must
not stand in line once it is started asks for a place *in hand*; while anybody waits for one, nobody starts ahead.
"""

from __future__ import annotations

from collections.abc import Callable

#: How far ahead bodies are started, in time and in number; and what a body is taken to last until some have ended.
AHEAD_S = 0.01
AHEAD_BODIES = 256
FIRST_GUESS_S = 1.0
_WEIGHT = 1 / 16  # of the last body in the average


class Slots:
    """A counter with a queue: a run that found none is woken, first come first served, when one is free.

    ``free`` says how many may be taken now; only this class changes it.

    Args:
        capacity: places, which is how many bodies run at once.
        ahead: whether short bodies may be started before their place is free.
    """

    __slots__ = ("_ahead", "_body_s", "_capacity", "_in_hand", "_may_be_ahead", "_taken", "_waiting", "free")

    def __init__(self, capacity: int, *, ahead: bool = False) -> None:
        self.free = capacity
        self._capacity = capacity
        self._may_be_ahead = ahead
        self._ahead = 0
        self._body_s = FIRST_GUESS_S
        self._taken = 0
        self._waiting: dict[object, Callable[[], None]] = {}
        self._in_hand: dict[object, None] = {}  # of those who wait, or have been woken, for a place in hand

    def take(self, who: object = None, *, in_hand: bool = False) -> bool:
        """Take a slot if there is one; ``in_hand``: only if its place is free now."""
        if in_hand:
            if self._taken >= self._capacity:
                return False
            self._in_hand.pop(who, None)
        elif not self.free:
            return False
        self._taken += 1
        if self._may_be_ahead:
            self._recount()
        else:
            self.free -= 1
        return True

    def give(self, *, took_s: float | None = None) -> None:
        """Give a slot back (its body has taken so long) and wake whoever waits longest."""
        self._taken -= 1
        if took_s is not None and self._may_be_ahead:
            self._body_s += (took_s - self._body_s) * _WEIGHT
            self._ahead = round(min(AHEAD_BODIES, self._capacity * AHEAD_S / max(self._body_s, 1e-9)))
        self._recount()
        if self._waiting:
            self.pass_on()

    def pass_on(self) -> None:
        """Wake the next in line, if there is a slot for it. One woken who needs none must pass on."""
        if self._waiting and self.free:
            who = next(iter(self._waiting))
            self._waiting.pop(who)()

    def wait(self, who: object, wake: Callable[[], None], *, in_hand: bool = False) -> None:
        """Have ``wake`` called when a slot is free (once; asking again keeps the place in the queue).

        Who has asked for a place in hand waits for one until it has taken it or is forgotten.
        """
        if in_hand:
            self._in_hand[who] = None
            self._recount()
        self._waiting.setdefault(who, wake)

    def forget(self, who: object) -> None:
        """``who`` waits no more."""
        self._waiting.pop(who, None)
        self._in_hand.pop(who, None)
        self._recount()

    def resize(self, capacity: int) -> None:
        """There are so many places from now on; who waits for one of the new ones is woken."""
        more = capacity - self._capacity
        self._capacity = capacity
        self._recount()
        for _ in range(more):
            self.pass_on()

    def _recount(self) -> None:
        free = self._capacity - self._taken
        if self._ahead and not self._in_hand:
            free += self._ahead
        self.free = max(0, free)
