"""Time that passes when there is nothing else to do: tests of week-long waits finish in milliseconds.

One `VirtualClock` is the clock of every engine opened while it is installed, and the time of their event loops: due
times, back-offs, time-outs, deadlines, and the `asyncio.sleep` of async bodies all wait for the same hand. It moves
when every loop is at rest and no body of theirs runs in a thread, and then straight to the next thing that is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import ceil, inf
from threading import Condition
from time import monotonic
from typing import NamedTuple

from flowledger.adapters.clock import Reading
from flowledger.adapters.timekeeping import SyncedClock, kept_by
from flowledger.events.store import Store

from .virtual_loop import VirtualLoop, Wakeable

#: How long (real time) `advance` lets bodies in threads go on before time passes over them.
PATIENCE_S = 0.1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Rest(NamedTuple):
    """A loop that has nothing to do before ``due_us``; ``busy``: but work of its runs is under way elsewhere."""

    due_us: float
    busy: bool


class VirtualClock:
    """A clock that jumps to whatever is due next (`flowledger.adapters.timekeeping.Timekeeper`).

    Args:
        start: what it shows at first; by default what it is.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._start_us = round(((start or datetime.now(UTC)) - _EPOCH) / timedelta(microseconds=1))
        self._elapsed_us = 0
        self._limit_us = inf  # how far time may go by itself
        self._changed = Condition()
        self._loops: set[Wakeable] = set()
        self._resting: dict[Wakeable, _Rest] = {}

    @contextmanager
    def installed(self) -> Generator[VirtualClock]:
        """Within the block, apps that open their log (at their first run) live in this time."""
        with kept_by(self):
            yield self

    # -- looking and moving ---------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What it shows, UTC."""
        return _EPOCH + timedelta(microseconds=self.now_us())

    def now_us(self) -> int:
        """The same, in microseconds since the epoch."""
        return self._start_us + self._elapsed_us

    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return self._elapsed_us / 1e6

    @contextmanager
    def held(self) -> Generator[VirtualClock]:
        """Within the block time stands still, but for `advance`."""
        with self._changed:
            before, self._limit_us = self._limit_us, self._elapsed_us
        try:
            yield self
        finally:
            with self._changed:
                self._limit_us = before
                self._go_on()

    def advance(self, by: float | timedelta) -> datetime:
        """Let so much time pass (seconds or timedelta); returns what it shows then.

        Whatever becomes due on the way happens at its own time, and all that follows from it, before this returns. A
        body that runs in a thread is given a moment (0.1 s of real time) to end; then time passes over it, so that a
        body that hangs meets its time limit. Not to be called on an engine's thread.
        """
        by_us = round((by.total_seconds() if isinstance(by, timedelta) else by) * 1e6)
        if by_us < 0:
            raise ValueError(f"time never goes back, not even by {-by_us / 1e6:g} s")
        with self._changed:
            held = self._limit_us <= self._elapsed_us
            until_us = self._elapsed_us + by_us
            self._limit_us = until_us
            self._pass(until_us)
            self._elapsed_us = max(self._elapsed_us, until_us)
            self._limit_us = self._elapsed_us if held else inf
            self._go_on()
        return self.now

    def _pass(self, until_us: int) -> None:
        """Until every loop is at rest and nothing more is due in time."""
        patience: float | None = None
        while True:
            self._go_on()
            everybody = len(self._resting) == len(self._loops)
            due_us = min((rest.due_us for rest in self._resting.values()), default=inf)
            busy = any(rest.busy for rest in self._resting.values())
            if everybody and not busy and due_us > until_us:
                return
            if not (everybody and busy):
                patience = None
                self._changed.wait()
                continue
            now = monotonic()
            patience = now + PATIENCE_S if patience is None else patience
            if now < patience:
                self._changed.wait(patience - now)
            elif due_us > until_us:
                return
            else:
                patience = None
                self._jump(due_us)

    # -- what engines ask (the port) -------------------------------------------------------------

    def new_loop(self, busy: Callable[[], bool]) -> asyncio.AbstractEventLoop:
        """A loop in this time."""
        loop = VirtualLoop(self, busy)
        with self._changed:
            self._loops.add(loop)
        return loop

    def new_clock(self, store: Store) -> SyncedClock:
        """This clock, whatever the store says."""
        return self

    def sync(self, reading: Reading | None = None) -> None:
        """Nothing sets it right."""

    # -- what loops say -------------------------------------------------------------------------

    def rests(self, loop: Wakeable, timeout_s: float | None, *, busy: bool) -> bool:
        """See `SharedTime`."""
        with self._changed:
            wait_us = inf if timeout_s is None else max(1, ceil(timeout_s * 1e6 - 0.01))
            self._resting[loop] = _Rest(self._elapsed_us + wait_us, busy)
            self._go_on()
            self._changed.notify_all()
            return loop not in self._resting

    def works(self, loop: Wakeable) -> None:
        """See `SharedTime`."""
        with self._changed:
            self._resting.pop(loop, None)

    def forget(self, loop: Wakeable) -> None:
        """See `SharedTime`."""
        with self._changed:
            self._loops.discard(loop)
            self._resting.pop(loop, None)
            self._go_on()
            self._changed.notify_all()

    def _go_on(self) -> None:
        """Jump to what is due next, if everybody waits for it and it may be."""
        resting = self._resting.values()
        if not resting or len(resting) < len(self._loops) or any(rest.busy for rest in resting):
            return
        due_us = min(rest.due_us for rest in resting)
        if due_us <= self._limit_us and due_us < inf:
            self._jump(due_us)

    def _jump(self, due_us: float) -> None:
        self._elapsed_us = max(self._elapsed_us, int(due_us))
        due = [loop for loop, rest in self._resting.items() if rest.due_us <= self._elapsed_us]
        for loop in due:
            del self._resting[loop]
            loop.wake()
