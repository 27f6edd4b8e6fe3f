"""Outcomes to inboxes: many in one transaction, again and again until the store has them (rule C2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from flowledger.events.claims import AttemptClaims, Report
from flowledger.events.errors import StoreError

#: Outcomes in one transaction.
AT_ONCE: Final = 500
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

_LOG = logging.getLogger("flowledger.worker")


class Reporting:
    """A thread that has no other work. ``reported`` is called there, with what the store has.

    Nothing is given up while the process lives: the outcome of a body that ran must not be lost with a database that is
    away. It says so, and tries again.
    """

    def __init__(self, claims: AttemptClaims, worker: str, reported: Callable[[Sequence[Report]], None]) -> None:
        self._claims = claims
        self._worker = worker
        self._reported = reported
        self._queue: SimpleQueue[Report | None] = SimpleQueue()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="flowledger-reporting", daemon=True)
        self._thread.start()

    def put(self, report: Report) -> None:
        """Have this outcome reported, soon. From any thread."""
        self._queue.put(report)

    def close(self, timeout_s: float) -> bool:
        """Report what there is, for no longer than this; whether all of it has been."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._stop.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch: list[Report] = []
            closing = self._gather(batch)
            if batch and not self._report(batch):
                return

    def _gather(self, batch: list[Report]) -> bool:
        """Wait for one, take what else is there; whether that was the last."""
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == AT_ONCE or self._queue.empty():
                return False
            item = self._queue.get()
        return True

    def _report(self, batch: Sequence[Report]) -> bool:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._claims.report(self._worker, batch)
            except StoreError as error:
                _LOG.error("%d outcomes wait for the store: %s", len(batch), error.message)
            else:
                self._reported(batch)
                return True
            if self._stop.wait(pause_s):
                _LOG.error("%d outcomes could not be reported; their attempts will be taken for lost", len(batch))
                return False
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
