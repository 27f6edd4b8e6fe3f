"""An event loop whose time is a virtual clock's: where another would wait for a timer, it says that it rests."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .virtual_clock import VirtualClock

#: A loop with open connections is given so much real time for what may come in, before time passes over it.
IO_PATIENCE_S = 0.05


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for an engine in virtual time. ``busy``: whether work it waits for is under way in a thread."""

    def __init__(self, clock: VirtualClock, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._busy = busy
        self._in_threads = 0
        super().__init__(_Selector(self._rests, self._works))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._clock.elapsed_s()

    def wake(self) -> None:
        """Time has moved. May be called from any thread."""
        with suppress(RuntimeError):  # it is closed
            super().call_soon_threadsafe(_look)

    def call_soon_threadsafe(self, callback: Any, *args: Any, **options: Any) -> asyncio.Handle:
        """As ever; and from this moment on the loop is not at rest."""
        self._clock.works(self)
        return super().call_soon_threadsafe(callback, *args, **options)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
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
