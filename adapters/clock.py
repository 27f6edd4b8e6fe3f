"""The clock port (rule F1): store time, read with each heartbeat, carried on by this machine's monotonic clock."""

from __future__ import annotations

from threading import Lock
from time import monotonic_ns
from typing import NamedTuple, Protocol

#: How long a thread may be held up between reading monotonic time and using it. A change of offset is no step back for
#: any reader within this time.
_MARGIN_US = 200_000


class _TimeSource(Protocol):
    """As much of a `Store` as a clock needs."""

    def now_us(self) -> int: ...


class Reading(NamedTuple):
    """Store time as somebody has read it, at some moment between ``asked_ns`` and ``answered_ns`` of monotonic time."""

    asked_ns: int
    store_us: int
    answered_ns: int

    def half_way(self) -> int:
        """Store time minus monotonic time in microseconds, taking the answer to have been given half-way."""
        return self.store_us - (self.asked_ns + self.answered_ns) // 2000

    def nearest(self, offset: int) -> int:
        """Of the differences that this reading allows, the one nearest to ``offset``.

        The answer of a statement that also writes is late by its commit, and half-way would be wrong by half of that.
        """
        return max(self.store_us - self.answered_ns // 1000, min(offset, self.store_us - self.asked_ns // 1000))


class _StepBack(NamedTuple):
    """How the clock goes on when store time has turned out to be earlier: it stands still until that catches up.

    ``before`` and ``after`` are offsets from monotonic to store time, to be used until monotonic reaches ``switch``
    and from then on; ``floor`` is what the clock shows at the switch, and the least it shows from then on.
    """

    before: int
    switch: int
    after: int
    floor: int

    def at(self, mono: int) -> int:
        return mono + self.before if mono < self.switch else max(mono + self.after, self.floor)


class StoreClock:
    """Store time without asking the store: one reading at each `sync`, monotonic time since. Never goes back.

    Raises:
        StoreUnavailable: the store's clock cannot be read.
    """

    def __init__(self, store: _TimeSource) -> None:
        self._store = store
        self._lock = Lock()
        self._offset = self._measured()
        self._step: _StepBack | None = None

    def now_us(self) -> int:
        """Microseconds since the epoch, store time."""
        # No lock: monotonic time is read before the state, and the state changes by one store at a time.
        mono = monotonic_ns() // 1000
        step = self._step
        return mono + self._offset if step is None else step.at(mono)

    def sync(self, reading: Reading | None = None) -> None:
        """Read the store's clock again; or see that this one agrees with a ``reading`` that was made just now.

        A jump ahead is taken at once, a step back by standing still.
        """
        with self._lock:
            step = self._step
            before = self._offset if step is None else step.after
            offset = self._measured() if reading is None else reading.nearest(before)
            mono = monotonic_ns() // 1000
            if step is None:
                if offset >= self._offset:
                    self._offset = offset
                else:
                    switch = mono + _MARGIN_US
                    self._step = _StepBack(self._offset, switch, offset, switch + self._offset)
            elif mono - _MARGIN_US >= step.switch:
                self._caught_up(mono - _MARGIN_US, max(offset, step.after), step)

    def _caught_up(self, mono: int, offset: int, step: _StepBack) -> None:
        """Go on with ``offset`` once that is no step back for a reader whose ``mono`` is as old as can be."""
        if mono + offset >= step.floor:
            self._offset = offset
            self._step = None

    def _measured(self) -> int:
        asked = monotonic_ns()
        store_us = self._store.now_us()
        return Reading(asked, store_us, monotonic_ns()).half_way()


class ManualClock:
    """A clock that stands still until told otherwise; tests replace the one port with it."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """The time it was set to."""
        return self._now_us

    def advance(self, *, s: float = 0.0, us: int = 0) -> int:
        """Go ahead by so much; returns the new time in microseconds."""
        step_us = round(s * 1_000_000) + us
        if step_us < 0:
            raise ValueError(f"a clock never goes back, not even by {-step_us} us")
        self._now_us += step_us
        return self._now_us
