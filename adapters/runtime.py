"""The parts of one process, put together: store, appender, heartbeat, clock, executors, resources, and the event loop.

The engine lives on a thread of its own with its own loop, so that `app.run` works in a script, in a notebook, in a web
server and inside a running loop alike (API §3.15).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from getpass import getuser
from socket import gethostname
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from flowledger.core.context import outside_bodies
from flowledger.core.engine.active import Lane, Services
from flowledger.core.engine.resources import ResourcePool
from flowledger.core.engine.run import RunDriver
from flowledger.core.engine.slots import Slots
from flowledger.core.ports import Appender, Children, Listeners
from flowledger.core.registry import Registry
from flowledger.core.vault import Codec
from flowledger.events.errors import Fenced
from flowledger.events.store import Store
from flowledger.projections.projection import Projection

from .adrift import Adrift
from .appender import open_appender
from .executors import local_lanes
from .heartbeat import Heartbeat
from .ids import SystemIds
from .importing import name_of
from .mailroom import Mailroom
from .noting import StoredNotes
from .projecting.embedded import EmbeddedProjector
from .settings import Settings
from .stores import open_store
from .timekeeping import SyncedClock, timekeeper
from .vaulting import RunVaults

if TYPE_CHECKING:
    from .executors.asking import Broker
    from .executors.given import Given
    from .executors.named import NamedExecutor
    from .executors.remote import RemoteExecutor

T = TypeVar("T")

CLOSE_S = 5.0  # how long `close` waits for resources to be closed


def actor() -> str:
    """Who acts: ``user@host``."""
    try:
        user = getuser()
    except (KeyError, OSError):  # a container without a user of this id
        user = "unknown"
    return f"{user}@{gethostname()}"


class Runtime:
    """Opened at the first run of an app, closed with it. Methods may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        listeners: Listeners,
        projections: Sequence[Projection] = (),
        codec: Codec | None = None,
        executors: Mapping[str, Given] | None = None,
    ) -> None:
        self.settings = settings
        self._closing = False
        broker = _broker_of(settings)
        self.store: Store = open_store(settings.database_url, schema=settings.database_schema)
        self.vaults = RunVaults(
            self.store.run_keys, settings, codec=codec, now_us=self.store.now_us, ephemeral=self.store.immediate
        )
        self.drivers: dict[str, RunDriver] = {}  # runs this process drives, by id; touched on the loop only
        self.claiming: set[str] = set()  # runs it is taking up; touched on the loop only
        time = timekeeper()
        self.loop = time.new_loop(self._is_busy)
        self._thread = Thread(target=self._run_loop, name="flowledger-engine", daemon=True)
        clock = time.new_clock(self.store)
        self.heartbeat = self._joined(registry.name, clock)
        self.adrift = Adrift(self.store, self.owner)
        self.mailroom = Mailroom(self.store, self.owner, self.loop, self.drivers)
        self.publisher = None if broker is None else broker.publisher(registry.name, clock.now_us)
        self._lanes = dict(local_lanes(
            self.loop, threads=settings.threads, processes=settings.processes,
            transactions=self.store.transactions, app=lambda: name_of(registry),
        ))  # fmt: skip
        self._named = _named(self.loop, executors or {}, registry)
        self._lanes.update((name, Lane(each, Slots(each.capacity), each)) for name, each in self._named.items())
        self.appender = open_appender(
            self.store, self.loop, outage_s=settings.store_outage_s, fenced=lambda: self.heartbeat.fenced,
            lone=self._is_lone,
        )  # fmt: skip
        self._notes = StoredNotes(self.store, clock, worker=self.owner)
        self.services = self._services(registry, clock, listeners)
        self._remote: RemoteExecutor | None = None
        if broker is not None and self.publisher is not None:
            self._ask_workers(broker.executor(
                self.loop, self.publisher, self.store.claims, owner=self.owner, app=registry.name, clock=clock,
                post=self.mailroom,
            ))  # fmt: skip
        self._projections = projections
        self._projector = EmbeddedProjector(self.store, projections, lambda: self.appender.events)
        self._thread.start()
        if projections and not self.store.immediate:  # in memory whoever reads is quick enough
            self._projector.start()

    def _services(self, registry: Registry, clock: SyncedClock, listeners: Listeners) -> Services:
        settings = self.settings
        return Services(
            loop=self.loop,
            appender=self.appender,
            clock=clock,
            ids=SystemIds(),
            lanes=self._lanes,
            resources=ResourcePool(registry.resources, registry.resource_needs),
            listeners=listeners,
            post=self.mailroom,
            notes=self._notes,
            transactions=self.store,
            actor=actor(),
            inline_bytes=settings.payload_inline_bytes,
            max_bytes=settings.payload_max_bytes,
            vaults=self.vaults,
        )

    def _ask_workers(self, remote: RemoteExecutor) -> None:
        """What tasks with a queue are made by."""
        self._remote = remote
        self._lanes["workers"] = Lane(remote, Slots(remote.capacity))
        self.services = replace(self.services, workers=remote)

    def _joined(self, app: str, clock: SyncedClock) -> Heartbeat:
        settings = self.settings
        try:
            return Heartbeat(
                self.store,
                app=app,
                on_fenced=self._fenced,
                on_beat=self._beaten,
                clock=clock,
                heartbeat_s=settings.lease_heartbeat_s,
                fence_s=settings.lease_fence_s,
            )
        except BaseException:
            self.loop.close()
            self.store.close()
            raise

    @property
    def owner(self) -> str:
        """The id under which this process owns runs."""
        return self.heartbeat.owner.id

    def complaints(self) -> list[str]:
        """What keeps workers from making parts of its runs, each in a line. May be called from any thread."""
        return [] if self._remote is None else self._remote.complaints()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have the views kept up to date also with what others append; ``changed`` is called whenever they moved.

        Not where `Settings.views` leaves them to others.
        """
        if self._projections:
            self._projector.watch(changed)

    def raise_children(self, children: Children) -> None:
        """Runs may have child runs from now on (G7)."""
        self.services = replace(self.services, children=children)

    def intercept(self, between: Callable[[Appender], Appender]) -> None:
        """Runs taken up from now on append through what ``between`` makes of the appender. For tests."""
        self.services = replace(self.services, appender=between(self.services.appender))

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the engine's loop; `Fenced` if the runtime is closed before it is done."""
        with outside_bodies():  # the loop's tasks have the context of who asks for them, who may be a body
            return asyncio.run_coroutine_threadsafe(self._until_closed(work), self.loop)

    def _is_busy(self) -> bool:
        """Whether a run of this process waits for work under way on another thread. Called on the loop."""
        return any(driver.waits_elsewhere for driver in self.drivers.values())

    def _is_lone(self) -> bool:
        """Whether this process drives one run, no body of which is a coroutine. Called on the loop."""
        if len(self.drivers) != 1:
            return False
        (driver,) = self.drivers.values()
        return not any(attempt.call.is_async for attempt in driver.live.values())

    async def _until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            if self._closing:
                raise _closed() from None
            raise

    def close(self) -> None:
        """Close resources, leave the store, stop the loop. Runs still driven are left for the next owner."""
        if self.loop.is_closed():
            return
        self._closing = True
        with contextlib.suppress(TimeoutError):
            self.call(self._close()).result(CLOSE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_S)
        for executor in self._named.values():
            executor.join()
        self._projector.close()
        if self.publisher is not None:
            self.publisher.close()
        self.appender.close()
        self.mailroom.stop()
        self._notes.close()
        self.heartbeat.close()
        self.mailroom.close()
        self.store.close()

    async def _close(self) -> None:
        self.lose_all(_closed())
        for lane in self._lanes.values():
            lane.executor.close()
        await self.services.resources.close()

    def _fenced(self) -> None:
        """This process may own nothing any more (B2): called by the heartbeat's thread."""
        error = Fenced(
            "this process could not reach the store in time and may no longer drive its runs",
            hint="see what kept the store from answering; run or resume again to go on",
        )
        self.loop.call_soon_threadsafe(self.lose_all, error)

    def _beaten(self) -> None:
        """The store answers: called by the heartbeat's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the process leaves the store
            self.loop.call_soon_threadsafe(self.let_go)

    def let_go(self) -> None:
        """Give back runs that slipped away while the store was. Called on the loop."""
        if self.adrift:
            self.loop.create_task(self.adrift.let_go(lambda run: run in self.drivers or run in self.claiming))

    def lose_all(self, error: Fenced) -> None:
        """Drive nothing any more; whoever waits gets ``error``. Called on the loop."""
        for driver in list(self.drivers.values()):
            driver.lose(error)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_cancel_all(self.loop))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


def _broker_of(settings: Settings) -> Broker | None:
    """Most processes have none, and need not load what speaks to one."""
    if settings.broker_url is None:
        return None
    from .executors.asking import broker_of  # noqa: PLC0415

    return broker_of(settings)


def _named(loop: asyncio.AbstractEventLoop, given: Mapping[str, Given], registry: Registry) -> dict[str, NamedExecutor]:
    """Most apps were given none, and need not load what serves them."""
    if not given:
        return {}
    from .executors.named import NamedExecutor  # noqa: PLC0415

    return {
        name: NamedExecutor(loop, each, app=lambda: name_of(registry), registry=registry)
        for name, each in given.items()
    }


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Nobody may wait for ever for a loop that has stopped."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_S)


def _closed() -> Fenced:
    return Fenced("the app was closed while the run was under way", hint="run it again to go on")
