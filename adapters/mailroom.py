"""Mail for the runs of a process (rules B7, G1): one thread waits for all of it, and the loop hands it out.

The thread waits only while runs are driven. It asks the store for what it has not met yet, so mail to a run that this
process owns but does not drive (it is just being taken up, or was lost) is met once and kept for the driver to come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from threading import Event, Thread

from flowledger.core.engine.run import RunDriver
from flowledger.events.errors import StoreError
from flowledger.events.store import Inbox, Store

#: How long one wait lasts at most: so long is asked for mail after the last run has ended.
WAIT_S = 5.0
#: How long after the store was away it is asked again.
PAUSE_S = 1.0

_LOG = logging.getLogger("flowledger.mailroom")


class Mailroom:
    """Brings mail to the drivers of a process. Methods are called on the loop, but for `stop` and `close`."""

    def __init__(
        self, store: Store, owner_id: str, loop: asyncio.AbstractEventLoop, drivers: Mapping[str, RunDriver]
    ) -> None:
        self._store = store
        self._owner_id = owner_id
        self._loop = loop
        self._drivers = drivers
        self._met: dict[str, int] = {}  # by run: the newest mail that has been met
        self._wanted = Event()
        self._closed = Event()
        self._thread: Thread | None = None

    async def introduce(self, driver: RunDriver, *, is_new: bool) -> None:
        """A driver that is registered, before its first turn: it gets what the run's inbox has (C3)."""
        if not is_new:
            driver.deliver(await self._read(driver.run_id), later=True)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="flowledger-mailroom", daemon=True)
            self._thread.start()
        self._wanted.set()

    def dismiss(self, run_id: str) -> None:
        """A driver is over."""
        self._met.pop(run_id, None)
        if not self._drivers:
            self._wanted.clear()

    def fetch(self, run_id: str) -> None:
        """See `core.ports.Post`."""
        self._loop.create_task(self._fetch(run_id))

    def stop(self) -> None:
        """Bring nothing more. From any thread; the wait under way ends when the owner leaves the store."""
        self._closed.set()
        self._wanted.set()

    def close(self) -> None:
        """Wait for the thread, after `stop`."""
        if self._thread is not None:
            self._thread.join(WAIT_S)

    async def _fetch(self, run_id: str) -> None:
        """Until it has been read, or nobody drives the run any more."""
        while not self._closed.is_set():
            driver = self._drivers.get(run_id)
            if driver is None or driver.is_over:
                return
            try:
                driver.deliver(await self._read(run_id, after=driver.known_mail))
            except StoreError as error:
                _LOG.warning("the inbox of run %s cannot be read: %s", run_id, error)
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def _read(self, run_id: str, *, after: int = 0) -> Inbox:
        if self._store.immediate:
            return self._store.inbox(run_id, after=after)
        return await asyncio.to_thread(self._store.inbox, run_id, after=after)

    # -- on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wanted.wait()
            try:
                due = self._store.due(self._owner_id, seen=dict(self._met), timeout_s=WAIT_S)
            except StoreError as error:
                if not self._closed.is_set():
                    _LOG.warning("the inbox cannot be read: %s", error)
                self._closed.wait(PAUSE_S)
                continue
            for run_id, number in due.mail.items():
                self._met[run_id] = number
                self._call(run_id)

    def _call(self, run_id: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self.fetch, run_id)
        except RuntimeError:  # the loop is closed: nobody drives anything any more
            self._closed.set()
