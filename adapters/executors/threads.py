"""Sync bodies in threads.

Not `concurrent.futures`: its threads are joined when the interpreter ends, so that a stuck body would keep a process
alive that has been told to go. These are daemons: what they were doing is in the log as started, and the next owner
finds it interrupted (C3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter

from flowledger.core.engine.attempt import Attempt, Outcome

Job = tuple[Attempt, Callable[[Outcome], None]]


class ThreadExecutor:
    """Up to ``capacity`` daemon threads, started as they are needed; what is submitted beyond stands in line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, capacity: int) -> None:
        self.capacity = capacity
        self._loop = loop
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Hand the body to an idle thread, or to a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                start = False
            else:
                start = self._threads < self.capacity
                self._threads += start
        self._jobs.put((attempt, done))
        if start:
            Thread(target=self._work, name=f"flowledger-task-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            attempt, done = job
            began = perf_counter()
            outcome = attempt.run()
            attempt.took_s = perf_counter() - began
            with self._lock:
                self._idle += 1
            try:
                self._loop.call_soon_threadsafe(done, outcome)
            except RuntimeError:  # the loop is closed: the process is on its way out
                return

    def cancel(self, attempt: Attempt) -> None:
        """A thread cannot be stopped; the body sees ``ctx.cancelled``."""

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)
