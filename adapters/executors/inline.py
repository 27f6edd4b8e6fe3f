"""Bodies on the event loop's own thread, one at a time within a run: for tests and benchmarks (B4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowledger.core.engine.attempt import Attempt, Outcome

from .native import AsyncExecutor


class InlineExecutor:
    """Runs a sync body before `submit` returns; an async one is awaited on the loop."""

    capacity = 1

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = AsyncExecutor(loop, capacity=1)

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Run the attempt."""
        if attempt.call.is_async:
            self._native.submit(attempt, done)
        else:
            done(attempt.run())

    def cancel(self, attempt: Attempt) -> None:
        """An async body is cancelled; a sync one is over before anybody could ask."""
        self._native.cancel(attempt)

    def close(self) -> None:
        """Cancel async bodies."""
        self._native.close()
