"""Many event loops in one thread, one callback at a time, in a time that nobody waits for.

Each simulated process has a loop of its own, so that a process can stop, stand still, and go on. What is due when is
the scheduler's alone: the same calls give the same order, on every machine.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import events as running
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from math import ceil
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Scheduler:
    """The time, and all that is to happen in it. ``trouble`` holds what callbacks raised."""

    def __init__(self, start_us: int) -> None:
        self.now_us = start_us
        self.steps = 0
        self.trouble: list[BaseException] = []
        self._ready: deque[tuple[ProcessLoop, asyncio.Handle]] = deque()
        self._due: list[tuple[int, int, ProcessLoop, asyncio.Handle]] = []
        self._count = 0

    def soon(self, loop: ProcessLoop, handle: asyncio.Handle) -> None:
        self._ready.append((loop, handle))

    def later(self, when_us: int, loop: ProcessLoop, handle: asyncio.Handle) -> None:
        self._count += 1
        heappush(self._due, (when_us, self._count, loop, handle))

    def step(self) -> bool:
        """Let the next thing happen; False if there is nothing to come."""
        while self._ready or self._due:
            if self._ready:
                loop, handle = self._ready.popleft()
            else:
                when_us, _, loop, handle = heappop(self._due)
                if handle.cancelled():
                    continue
                self.now_us = max(self.now_us, when_us)
            if handle.cancelled() or not loop.takes(handle):
                continue
            self.steps += 1
            self._run(loop, handle)
            return True
        return False

    def _run(self, loop: ProcessLoop, handle: asyncio.Handle) -> None:
        running._set_running_loop(loop.loop)
        try:
            handle._run()
        finally:
            running._set_running_loop(None)
        if self.trouble:
            raise self.trouble.pop()


class ProcessLoop:
    """As much of an event loop as engine and asyncio ask for; `loop` is the same under the type they know."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.loop: asyncio.AbstractEventLoop = cast("Any", self)
        self.dead = False
        self._scheduler = scheduler
        self._held: list[asyncio.Handle] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- the process's fate ---------------------------------------------------------------------

    def takes(self, handle: asyncio.Handle) -> bool:
        """Whether a callback may run now; one that comes while the process stands still is kept."""
        if self._held is not None and not self.dead:
            self._held.append(handle)
        return not self.dead and self._held is None

    @property
    def stands_still(self) -> bool:
        return self._held is not None

    def stand_still(self) -> None:
        """As after SIGSTOP: nothing runs, and what comes in waits."""
        if self._held is None:
            self._held = []

    def go_on(self) -> None:
        held, self._held = self._held or [], None
        for handle in held:
            self._scheduler.soon(self, handle)

    def die(self) -> None:
        """As after kill -9: nothing runs any more."""
        self.dead = True
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was pending, and its process is gone
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()

    # -- what asyncio calls ---------------------------------------------------------------------

    def time(self) -> float:
        return self._scheduler.now_us / 1e6

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self.loop, context)
        self._scheduler.soon(self, handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        when_us = self._scheduler.now_us + max(0, ceil(delay * 1e6 - 0.01))
        handle = asyncio.TimerHandle(when_us / 1e6, callback, args, self.loop, context)
        self._scheduler.later(when_us, self, handle)
        return handle

    def run_in_executor(self, executor: object, function: Callable[[], T]) -> asyncio.Future[T]:
        """What another thread does is done at once, and heard of a little later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            self.call_soon(future.set_result, function())
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self.call_soon(future.set_exception, error)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.loop)

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self.loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._scheduler.trouble.append(context.get("exception") or RuntimeError(context["message"]))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.dead

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""
