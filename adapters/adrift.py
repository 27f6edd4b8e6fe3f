"""Runs that this process may own and does not drive: it gave them up, or asked for them, while the store was away.

Nobody takes over from a process that lives (B1), so a run it has let slip would wait for its end. As soon as the store
answers again, whatever of them is still in its name and is not driven here is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Store

T = TypeVar("T")


class Adrift:
    """The runs concerned. Touched on the engine's loop only."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._runs: dict[str, None] = {}
        self._at_it = False

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._runs)

    def __contains__(self, run_id: object) -> bool:
        """Whether this run is one of them. May be asked from any thread."""
        return run_id in self._runs

    def add(self, run_id: str) -> None:
        """The store did not answer for this run."""
        self._runs[run_id] = None

    async def let_go(self, is_driven: Callable[[str], bool]) -> None:
        """The store answers again: give back what is ours and not driven here."""
        if self._at_it:
            return
        self._at_it = True
        try:
            for run_id in list(self._runs):
                await self._let_go(run_id, is_driven)
                self._runs.pop(run_id, None)
        except StoreUnavailable:
            pass  # away once more: after the next heartbeat
        finally:
            self._at_it = False

    async def _let_go(self, run_id: str, is_driven: Callable[[str], bool]) -> None:
        stream = await self._asked(lambda: self._store.stream(run_id))
        # In this order: a claim of ours that comes after the look has another epoch, and is not undone by this.
        if stream is not None and stream.owner == self._owner and not is_driven(run_id):
            await self._asked(lambda: self._store.release(run_id, epoch=stream.epoch))

    async def _asked(self, work: Callable[[], T]) -> T:
        return work() if self._store.immediate else await asyncio.to_thread(work)
