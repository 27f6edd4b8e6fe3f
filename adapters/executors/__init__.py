"""Where bodies run: on the loop itself, in threads, as coroutines, or in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from flowledger.core.engine.attempt import Executor

from .inline import InlineExecutor
from .native import AsyncExecutor
from .processes import ProcessExecutor
from .threads import ThreadExecutor

ASYNC_CAPACITY = 10_000  # coroutines are cheap; this only bounds a mistake


def local_executors(
    loop: asyncio.AbstractEventLoop, *, threads: int, processes: int, transactions: int, app: Callable[[], str]
) -> Mapping[str, Executor]:
    """The executors of one process by lane (`core.plan.Lane`). ``app`` names the app for children (B6)."""
    return {
        "inline": InlineExecutor(loop),
        "threads": ThreadExecutor(loop, capacity=threads),
        "transaction": ThreadExecutor(loop, capacity=max(1, transactions)),
        "async": AsyncExecutor(loop, capacity=ASYNC_CAPACITY),
        "processes": ProcessExecutor(loop, capacity=processes, app=app),
    }
