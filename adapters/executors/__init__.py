"""Where bodies run: on the loop itself, in threads, or as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flowledger.core.engine.attempt import Executor

from .inline import InlineExecutor
from .native import AsyncExecutor
from .threads import ThreadExecutor

ASYNC_CAPACITY = 10_000  # coroutines are cheap; this only bounds a mistake


def local_executors(loop: asyncio.AbstractEventLoop, *, threads: int) -> Mapping[str, Executor]:
    """The executors of one process by lane (`core.plan.Lane`)."""
    return {
        "inline": InlineExecutor(loop),
        "threads": ThreadExecutor(loop, capacity=threads),
        "async": AsyncExecutor(loop, capacity=ASYNC_CAPACITY),
    }
