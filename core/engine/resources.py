"""Live objects for bodies: made when first needed, once per process or per run, closed in reverse order of making.

A resource must be usable from any thread: it is made on one (or on the event loop, if its maker is async) and used by
bodies on others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from logging import getLogger
from typing import Any

from flowledger.core.resource import Resource

_LOG = getLogger("flowledger.resources")

Close = Callable[[], Awaitable[None]]
Scope = str  # "" for the process, else a run id


class ResourcePool:
    """The resources of an app, live. ``get`` is quick and never makes anything; `acquire` makes what is missing."""

    def __init__(self, resources: Mapping[str, Resource[Any]], needs: Callable[[str], Mapping[str, str]]) -> None:
        self._resources = resources
        self._needs = needs  # of a resource: argument → the name of another
        self._live: dict[tuple[Scope, str], Any] = {}
        self._closers: dict[Scope, list[tuple[str, Close]]] = {}
        self._locks: dict[tuple[Scope, str], asyncio.Lock] = {}

    def has(self, names: Sequence[str], run_id: str) -> bool:
        """Whether all of these can be had by `get` now."""
        return all(self._resources[name].overridden or self._key(name, run_id) in self._live for name in names)

    def get(self, name: str, run_id: str) -> Any:
        """A live resource (or what overrides it)."""
        override = self._resources[name].overridden
        return override.value if override else self._live[self._key(name, run_id)]

    async def acquire(self, names: Sequence[str], run_id: str) -> None:
        """Make what is missing, and what that needs; raises whatever a maker raises."""
        for name in names:
            if self._resources[name].overridden:
                continue
            key = self._key(name, run_id)
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._live:
                    await self._make(key, self._resources[name], run_id)

    async def _make(self, key: tuple[Scope, str], resource: Resource[Any], run_id: str) -> None:
        needs = self._needs(key[1])
        await self.acquire(list(needs.values()), run_id)
        arguments = {argument: self.get(name, run_id) for argument, name in needs.items()}
        value, close = await _made(resource, arguments)
        self._live[key] = value
        if close is not None:
            self._closers.setdefault(key[0], []).append((resource.name, close))

    def _key(self, name: str, run_id: str) -> tuple[Scope, str]:
        return (run_id if self._resources[name].scope == "run" else "", name)

    async def close_run(self, run_id: str) -> None:
        """Close what lives as long as this run."""
        await self._close(run_id)

    async def close(self) -> None:
        """Close everything."""
        for scope in [*(s for s in self._closers if s), ""]:
            await self._close(scope)

    async def _close(self, scope: Scope) -> None:
        for name, close in reversed(self._closers.pop(scope, [])):
            try:
                await close()
            except Exception:  # noqa: BLE001 - the run's outcome is settled; say it, and close the rest
                _LOG.exception("closing resource %s failed", name)
        if any(key[0] == scope for key in self._live):
            self._live = {key: value for key, value in self._live.items() if key[0] != scope}
            self._locks = {key: lock for key, lock in self._locks.items() if key[0] != scope}


async def _made(resource: Resource[Any], arguments: dict[str, Any]) -> tuple[Any, Close | None]:
    """The object, and how to close it. Sync makers run in a thread: they may block, the loop may not."""
    match resource.kind:
        case "coroutine":
            return await resource.make(**arguments), None
        case "function":
            return await asyncio.to_thread(resource.make, **arguments), None
        case "generator":
            generator = resource.make(**arguments)
            value = await asyncio.to_thread(_first, generator)
            return value, lambda: _close_generator(generator)
        case _:
            async_generator = resource.make(**arguments)
            return await anext(async_generator), lambda: _async_rest(async_generator)


def _first(generator: Any) -> Any:
    return next(generator)


async def _close_generator(generator: Any) -> None:
    try:
        await asyncio.to_thread(_rest, generator)
    except RuntimeError:
        if generator.gi_frame is None:  # it ran, and this came out of it
            raise
        # The interpreter is about to exit and threads take no more work; the loop has nothing else to do by then.
        _rest(generator)


def _rest(generator: Any) -> None:
    next(generator, None)
    generator.close()


async def _async_rest(generator: Any) -> None:
    await anext(generator, None)
    await generator.aclose()
