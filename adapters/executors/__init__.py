"""Where bodies run: on the loop itself, in threads, as coroutines, in processes, or on what the app was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from flowledger.core.engine.active import Lane
from flowledger.core.engine.attempt import Executor
from flowledger.core.engine.slots import Slots

from .inline import InlineExecutor
from .native import AsyncExecutor
from .processes import ProcessExecutor
from .threads import ThreadExecutor

ASYNC_CAPACITY = 10_000  # coroutines are cheap; this only bounds a mistake


def local_lanes(
    loop: asyncio.AbstractEventLoop, *, threads: int, processes: int, transactions: int, app: Callable[[], str]
) -> Mapping[str, Lane]:
    """The lanes that every process has (`core.plan.LANES`). ``app`` names the app for children (B6)."""
    executors: Mapping[str, Executor] = {
        "inline": InlineExecutor(loop),
        "threads": ThreadExecutor(loop, capacity=threads),
        "transaction": ThreadExecutor(loop, capacity=max(1, transactions)),
        "async": AsyncExecutor(loop, capacity=ASYNC_CAPACITY),
        "processes": ProcessExecutor(loop, capacity=processes, app=app),
    }
    return {
        name: Lane(executor, Slots(executor.capacity, ahead=name == "threads")) for name, executor in executors.items()
    }
