"""Making attempts that were packed somewhere else, with resources of this process (rule B6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from flowledger.core.engine.attempt import Outcome
from flowledger.core.engine.resources import ResourcePool
from flowledger.core.portable import Request
from flowledger.core.registry import Registry

from .elsewhere import Elsewhere, Progress, arguments_of, attempt_of, not_begun, resources_of, unheard

#: How long `close` waits for resources to be closed.
CLOSE_S = 5.0


class Maker:
    """Makes attempts of one app's tasks, on any number of threads. Its resources live as long as it does."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pool = ResourcePool(registry.resources, registry.resource_needs)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="flowledger-loop", daemon=True)
        self._thread.start()

    def make(self, request: Request, is_cancelled: Callable[[], bool], on_progress: Progress = unheard) -> Outcome:
        """Call the body that is asked for, and wait for it."""
        try:
            attempt, signature = attempt_of(self._registry, request, Elsewhere(request, is_cancelled, on_progress))
            needed = resources_of(self._registry, request, signature)
            live = {argument: self._resource(name, request.run) for argument, name in needed.items()}
            attempt.arguments = arguments_of(attempt, request, signature, live)
        except Exception as error:  # noqa: BLE001 - makers, validators: the user's code (D7, C9)
            return not_begun(request, error)
        return attempt.run()

    def _resource(self, name: str, run_id: str) -> object:
        if not self._pool.has([name], run_id):
            asyncio.run_coroutine_threadsafe(self._pool.acquire([name], run_id), self._loop).result()
        return self._pool.get(name, run_id)

    def close(self) -> None:
        """Close the resources."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._pool.close(), self._loop).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
