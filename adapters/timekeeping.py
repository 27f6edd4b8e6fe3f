"""Where a process has its time from (rule F1): the clock, and the event loop whose timers must move with it.

A runtime asks here when it is opened. Tests put another timekeeper in place (`flowledger.testing`), under which a week
passes in no time: nothing else in the library waits, or asks what time it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from flowledger.core.ports import Clock
from flowledger.events.store import Store

from .clock import Reading, StoreClock


class SyncedClock(Clock, Protocol):
    """A clock that the heartbeat sets right."""

    def sync(self, reading: Reading | None = None) -> None:
        """Agree with a ``reading`` of store time that was made just now; None: read it again.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        ...


class Timekeeper(Protocol):
    """Gives each runtime its loop and its clock."""

    def new_loop(self, busy: Callable[[], bool]) -> asyncio.AbstractEventLoop:
        """A loop for an engine. ``busy``: whether work of its runs is under way elsewhere (a thread's body, a commit);
        to be called on the loop's own thread."""
        ...

    def new_clock(self, store: Store) -> SyncedClock:
        """The clock of an engine that keeps its log in ``store``."""
        ...


class StoreTime:
    """Store time, and timers of the machine: how it is but in tests."""

    def new_loop(self, busy: Callable[[], bool]) -> asyncio.AbstractEventLoop:
        """An ordinary loop."""
        return asyncio.new_event_loop()

    def new_clock(self, store: Store) -> SyncedClock:
        """Store time, carried on between heartbeats by this machine's monotonic clock."""
        return StoreClock(store)


_keeper: Timekeeper = StoreTime()


def timekeeper() -> Timekeeper:
    """The one that holds now."""
    return _keeper


@contextmanager
def kept_by(keeper: Timekeeper) -> Generator[None]:
    """Within the block, runtimes that are opened have their time from ``keeper``. For tests."""
    global _keeper
    before = _keeper
    _keeper = keeper
    try:
        yield
    finally:
        _keeper = before
