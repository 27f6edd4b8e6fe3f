"""An event loop whose time is a virtual clock's: where another would wait for a timer, it says that it rests."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import Context
from typing import Protocol, TypeVar

from typing_extensions import TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: A loop with open connections is given so much real time for what may come in, before time passes over it.
IO_PATIENCE_S = 0.05


class SharedTime(Protocol):
    """What a loop asks of the clock it shares with others."""

    def elapsed_s(self) -> float:
        """The time of the loop, in seconds."""
        ...

    def rests(self, loop: Wakeable, timeout_s: float | None, *, busy: bool) -> bool:
        """A loop has nothing to do for so long (None: until it is called); True if time has just moved to where it has.

        ``busy``: but work it waits for is under way in a thread.
        """
        ...

    def works(self, loop: Wakeable) -> None:
        """A loop has something to do."""
        ...

    def forget(self, loop: Wakeable) -> None:
        """A loop is closed."""
        ...


class Wakeable(Protocol):
    """What the clock asks of a loop."""

    def wake(self) -> None:
        """Time has moved. May be called from any thread."""
        ...


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for an engine in virtual time. ``busy``: whether work it waits for is under way in a thread."""

    def __init__(self, clock: SharedTime, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._busy = busy
        self._in_threads = 0
        super().__init__(_Selector(self._rests, self._works))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._clock.elapsed_s()

    def wake(self) -> None:
        """See `Wakeable`."""
        with suppress(RuntimeError):  # it is closed
            super().call_soon_threadsafe(_look)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As ever; and from this moment on the loop is not at rest."""
        self._clock.works(self)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As ever; until the result is here, time stands still."""
        self._in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._back_from_thread)
        return future

    def close(self) -> None:
        """As ever; the clock waits for it no more."""
        super().close()
        self._clock.forget(self)

    def _back_from_thread(self, _future: object) -> None:
        self._in_threads -= 1

    def _rests(self, timeout_s: float | None) -> bool:
        return self._clock.rests(self, timeout_s, busy=self._in_threads > 0 or self._busy())

    def _works(self) -> None:
        self._clock.works(self)


class _Selector(selectors.DefaultSelector):
    """Waits for what comes in from outside, but never for a time."""

    def __init__(self, rests: Callable[[float | None], bool], works: Callable[[], None]) -> None:
        super().__init__()
        self._rests = rests
        self._works = works

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        patience_s = IO_PATIENCE_S if len(self.get_map()) > 1 else 0  # one is the loop's own
        found = super().select(0 if timeout is not None and timeout <= 0 else patience_s)
        if found or (timeout is not None and timeout <= 0) or self._rests(timeout):
            return found
        try:
            return super().select(None)
        finally:
            self._works()


def _look() -> None:
    """What wakes a loop: it looks for timers by itself."""
