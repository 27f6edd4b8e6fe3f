"""Many runs side by side in one process, and how they are asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from flowledger.core.engine.run import RunDriver
from flowledger.core.registry import Registry
from flowledger.events.errors import IllegalRequest
from flowledger.events.requests import Suspend

from . import driving
from .driving import Wish
from .loading import Loaded
from .runtime import Runtime, actor


class Batch:
    """Drives a list of wishes, at most ``at_once`` at a time, and gives what each came to."""

    def __init__(self, runtime: Runtime, registry: Registry, at_once: int) -> None:
        self._runtime = runtime
        self._registry = registry
        self._places = asyncio.Semaphore(at_once)
        self._drivers: list[RunDriver] = []
        self._stopped = False

    async def run(self, wishes: Sequence[Wish]) -> list[Loaded]:
        """All of them, in their order; the first error that is nobody's outcome (a lost store) is raised at the end."""
        found = await asyncio.gather(*[self._one(wish) for wish in wishes], return_exceptions=True)
        for loaded in found:
            if isinstance(loaded, BaseException):
                raise loaded
        return [loaded for loaded in found if not isinstance(loaded, BaseException)]

    async def _one(self, wish: Wish) -> Loaded:
        async with self._places:
            if self._stopped:
                raise IllegalRequest(
                    f"{wish.factory} was not started: ^C came before its turn", hint="call run_many again with keys="
                )
            return await driving.run(self._runtime, self._registry, wish, self._drivers.append, None)

    def suspend(self) -> None:
        """Start no more, and suspend what is under way. May be called from any thread."""
        self._stopped = True
        suspend(self._runtime, list(self._drivers), "^C")


def suspend(runtime: Runtime, drivers: Iterable[RunDriver], reason: str) -> None:
    """Ask runs to suspend (G2). May be called from any thread; a run that is over is not disturbed."""
    for driver in drivers:
        request = partial(driver.request, Suspend(reason=reason), actor=actor())
        runtime.loop.call_soon_threadsafe(request)
