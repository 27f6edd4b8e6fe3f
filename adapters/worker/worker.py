"""`Worker`: makes tasks for engines elsewhere, from `start` until it has drained (rules C1 to C3, C7)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from threading import Event, Lock
from time import monotonic

import msgspec

from flowledger.adapters.broker.consumer import Consumer
from flowledger.adapters.conductor.health import Verdict
from flowledger.adapters.executors.asking import Broker
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.timekeeping import timekeeper
from flowledger.core.engine.attempt import Outcome
from flowledger.core.engine.crossing import reply
from flowledger.core.portable import Told, bound_to, encoded
from flowledger.core.registry import Registry
from flowledger.events.claims import Report, WorkerRow
from flowledger.events.errors import FlowledgerError
from flowledger.events.store import Store

from .beating import Beating
from .consuming import Consuming
from .making import Job, Making, queue_of
from .places import Places
from .reporting import Reporting

#: A loop that has not turned for so long is reported (B4).
STUCK_S = 60.0
#: How long the last outcomes may take to be reported once everything has been made.
REPORT_S = 60.0
#: Messages that lie here beside those that are made, so that the next are there at once.
PREFETCH_AHEAD = 16

_LOG = logging.getLogger("flowledger.worker")


class Worker:
    """One worker of an app.

    Args:
        registry: the app's tasks.
        store: where attempts are claimed and outcomes reported. It stays the caller's.
        broker: where requests come from.
        queues: which ones.
        concurrency: how many attempts at once.
        processes: where above 0, sync bodies run in so many child processes instead of in threads.
        app: names the app for those; raises `NotImportable` where a child could not import it.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        broker: Broker,
        *,
        queues: Sequence[str],
        concurrency: int,
        processes: int = 0,
        app: Callable[[], str],
    ) -> None:
        self.id = new_ulid()
        self._name = f"{self.id} {os.getpid()}@{socket.gethostname()}"
        self._registry = registry
        self._store = store
        self._broker = broker
        self._queues = tuple(queues)
        self._processes = processes
        self._app = app
        self._places = Places(concurrency)
        self._draining = Event()
        self._ending = Lock()
        self._ended = False
        self._turned_at = monotonic()

    def start(self) -> None:
        """Begin to take requests.

        Raises:
            StoreUnavailable: it cannot be made known.
            NotImportable: bodies are to run in child processes, and those could not import the app.
        """
        if self._processes:
            self._app()
        claims, capacity = self._store.claims, self._places.capacity
        claims.join(self._row())
        clock = timekeeper().new_clock(self._store)
        self._making = Making(
            self._registry, clock, threads=capacity, processes=self._processes, app=self._app, done=self._done,
            ended=lambda job, took_s: self._places.give(job.key, took_s=took_s),
        )  # fmt: skip
        self._reporting = Reporting(claims, self.id, self._reported)
        self._beating = Beating(
            claims, clock, row=self._row, signs=self._making.signs, unwanted=self._making.cancel, fenced=self._fenced
        )
        consumer = Consumer(
            self._broker.url, app=self._registry.name, queues=self._queues, keys=self._broker.keys,
            prefetch=capacity + PREFETCH_AHEAD, wrapping=self._broker.wrapping, timeout_s=self._broker.timeout_s,
            now_us=clock.now_us,
        )  # fmt: skip
        self._consumer = consumer
        self._consuming = Consuming(
            consumer, claims, self.id, registry=self._registry, wrapping=self._broker.wrapping, places=self._places,
            fenced=lambda: self._beating.fenced, making=self._making,
        )  # fmt: skip
        _LOG.info("worker %s of app %s takes requests from %s", self.id, self._registry.name, ", ".join(self._queues))

    def drain(self) -> None:
        """Take nothing more, and end once what is being made is over. May be called from any thread, and again."""
        self._draining.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it has come. Nothing ends before `drain` has been called."""
        if not self._draining.wait(timeout_s):
            return False
        self._consuming.stop()
        if not self._places.wait_empty(timeout_s):
            return False
        self._end()
        return True

    @property
    def running(self) -> int:
        """How many attempts it is making."""
        return len(self._places)

    # -- for whoever watches --------------------------------------------------------------------

    def alive(self) -> Verdict:
        """Whether the event loop turns."""
        self._making.turns(self._turned)
        age_s = monotonic() - self._turned_at
        if age_s > STUCK_S:
            return Verdict(good=False, why=f"the event loop has not turned for {age_s:.0f} s: an async body blocks it")
        return Verdict(good=True, why="alive")

    def ready(self) -> Verdict:
        """Whether it takes requests."""
        if self._draining.is_set():
            return Verdict(good=False, why="draining")
        if self._beating.fenced:
            return Verdict(good=False, why="fenced: it could not reach the store in time")
        if not self._consumer.available:
            return Verdict(good=False, why=f"no broker: {self._consumer.trouble}")
        return Verdict(good=True, why=f"ready, {self.running} attempts")

    def _turned(self) -> None:
        self._turned_at = monotonic()

    # -- what happens ---------------------------------------------------------------------------

    def _row(self) -> WorkerRow:
        state = "draining" if self._draining.is_set() else "running"
        return WorkerRow(
            self.id, socket.gethostname(), os.getpid(), self._registry.name, self._queues, self._places.capacity, state
        )

    def _done(self, job: Job, outcome: Outcome) -> None:
        """An attempt has ended: into the run's inbox with it. Called on the loop."""
        request, said = job.request, job.said or (None, "")
        told = Told(
            path=request.path, phase=request.phase, try_=request.try_, attempt=request.attempt, call=request.call,
            worker=self._name, reply=msgspec.Raw(reply(outcome)), fraction=said[0], message=said[1],
        )  # fmt: skip
        if job.secret:
            told = self._wrapped(request.run, told)
        self._reporting.put(Report(job.key, request.call, encoded(told)))

    def _wrapped(self, run_id: str, told: Told) -> Told:
        wrapped = self._broker.wrapping.wrapped(bytes(told.reply), bound_to=bound_to(run_id, told))
        return msgspec.structs.replace(told, reply=msgspec.Raw(wrapped))

    def _reported(self, reports: Sequence[Report]) -> None:
        self._making.forget([(report.key, report.call) for report in reports])

    def _fenced(self) -> None:
        self._making.cancel([sign.key for sign in self._making.signs()])

    def _end(self) -> None:
        with self._ending:
            if self._ended:
                return
            self._ended = True
        self._reporting.close(REPORT_S)
        self._beating.close()
        self._making.close()
        try:
            self._store.claims.leave(self.id)
        except FlowledgerError as error:
            _LOG.warning("the worker could not say that it has ended: %s", error.message)


def queues_of(registry: Registry) -> list[str]:
    """The queues on which the app's tasks are asked for."""
    return sorted({queue for name in registry.tasks if (queue := queue_of(registry, name)) is not None})
