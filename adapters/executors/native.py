"""Async bodies, as tasks of the engine's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowledger.core.engine.attempt import Attempt, Outcome


class AsyncExecutor:
    """One asyncio task per body. Lives on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, capacity: int) -> None:
        self.capacity = capacity
        self._loop = loop
        self._tasks: dict[Attempt, asyncio.Task[Outcome]] = {}

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Start the body."""
        task = self._loop.create_task(attempt.arun())
        self._tasks[attempt] = task
        task.add_done_callback(lambda task: self._ended(attempt, task, done))

    def _ended(self, attempt: Attempt, task: asyncio.Task[Outcome], done: Callable[[Outcome], None]) -> None:
        self._tasks.pop(attempt, None)
        if not task.cancelled():  # cancelled before its first step, at `close`: nobody is left to tell
            done(task.result())

    def cancel(self, attempt: Attempt) -> None:
        """Cancel the body; its outcome is reported all the same."""
        task = self._tasks.get(attempt)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Cancel all bodies."""
        for task in list(self._tasks.values()):
            task.cancel()
