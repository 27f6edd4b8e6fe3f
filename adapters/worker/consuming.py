"""From messages to claimed attempts (rule C1): a worker claims first, then acknowledges, then makes.

One thread: it receives what there is room for, claims all of it in one statement, and hands on what was granted. What
is refused was claimed before, or nobody wants it: the message goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic
from typing import Final, NamedTuple, TypeVar

import msgspec

from flowledger.adapters.broker.consumer import Consumer, Delivery
from flowledger.adapters.broker.wrapping import Wrapping
from flowledger.adapters.executors.remote import parcel
from flowledger.core.portable import Reference, Request, asked_of, request_of
from flowledger.core.registry import Registry
from flowledger.events.claims import Ask, AttemptClaims, AttemptKey
from flowledger.events.errors import FlowledgerError, StoreError

from .making import Job, Making, knows
from .places import Places

T = TypeVar("T")

#: How long one wait for messages takes; and how long it waits for a place before it looks after the link.
WAIT_S: Final = 0.5
#: Before a store that did not answer is asked again.
PAUSE_S: Final = 0.5

_LOG = logging.getLogger("flowledger.worker")


class _Asked(NamedTuple):
    delivery: Delivery
    job: Job


class Consuming:
    """Takes requests until it is stopped.

    Args:
        consumer: where they come from.
        claims: where they are claimed.
        worker: for whom.
        registry: the tasks there are.
        wrapping: reads requests that were kept encrypted.
        places: how much is made at once.
        fenced: whether nothing may be begun just now.
        making: makes what has been claimed.
    """

    def __init__(
        self,
        consumer: Consumer,
        claims: AttemptClaims,
        worker: str,
        *,
        registry: Registry,
        wrapping: Wrapping,
        places: Places,
        fenced: Callable[[], bool],
        making: Making,
    ) -> None:
        self._consumer = consumer
        self._claims = claims
        self._worker = worker
        self._registry = registry
        self._wrapping = wrapping
        self._places = places
        self._fenced = fenced
        self._making = making
        self._stop = Event()
        self.turned_at = monotonic()
        self._thread = Thread(target=self._run, name="flowledger-consuming", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; what was received and not claimed goes back to its queue."""
        self._stop.set()
        self._places.wake()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - the thread must outlive whatever comes
                _LOG.exception("a batch of requests could not be dealt with")
                self._stop.wait(PAUSE_S)
            self.turned_at = monotonic()
        self._consumer.close()

    def _turn(self) -> None:
        room = 0 if self._fenced() else self._places.wait_free(WAIT_S)
        if self._stop.is_set():
            return
        asked = [each for each in map(self._read, self._consumer.receive(WAIT_S if room else 0.0, room)) if each]
        if asked:
            self._claim(asked)
        elif self._fenced():
            self._stop.wait(PAUSE_S)

    def _read(self, delivery: Delivery) -> _Asked | None:
        """What is asked, or None: it has been dealt with."""
        try:
            request = self._request(delivery)
        except (msgspec.MsgspecError, FlowledgerError) as error:
            delivery.park(f"it is no request: {error}")
            return None
        if request is None or self._is_here(request):  # its run is over; or it is being made
            delivery.ack()
            return None
        if not knows(self._registry, request):
            delivery.park(f"the app {self._registry.name} has no task {request.task!r} here")
            return None
        return _Asked(delivery, Job(request, secret=delivery.was_secret))

    def _is_here(self, request: Request) -> bool:
        """Whether it is being made by this worker, or its outcome is just being reported."""
        key = _key(request)
        return key in self._places or self._making.has(key, request.call)

    def _request(self, delivery: Delivery) -> Request | None:
        asked = asked_of(delivery.content)
        if isinstance(asked, Request):
            return asked
        content = self._patiently(lambda: self._kept(asked))
        return None if content is None else request_of(content)

    def _kept(self, asked: Reference) -> bytes | None:
        key = AttemptKey(asked.run, asked.path, asked.try_, asked.attempt, asked.phase)
        content = self._claims.kept(key, asked.call)
        if content is None or not asked.secret:
            return content
        return self._wrapping.opened(content, bound_to=parcel(key, asked.call))

    def _claim(self, asked: Sequence[_Asked]) -> None:
        """Claim all of it, acknowledge all of it, make what was granted."""
        begun: list[Job] = []
        for each in asked:
            self._places.take(each.job.key)
        try:
            asks = [Ask(each.job.key, each.job.request.call) for each in asked]
            granted = self._patiently(lambda: self._claims.claim(self._worker, asks))
            if granted is None:
                return  # told to stop, and not acknowledged: another worker gets them
            begun = [each.job for each, may in zip(asked, granted, strict=True) if may]
        finally:
            kept = {job.key for job in begun}
            for each in asked:
                if each.job.key not in kept:
                    self._places.give(each.job.key)
        for each in asked:
            each.delivery.ack()
        self._consumer.settle()
        if begun:
            self._making.begin(begun)

    def _patiently(self, ask: Callable[[], T]) -> T | None:
        """Ask the store until it answers; None: told to stop meanwhile."""
        while True:
            try:
                return ask()
            except StoreError as error:
                _LOG.warning("requests wait for the store: %s", error.message)
                self._consumer.receive(0.0, 0)  # the link must live
                if self._stop.wait(PAUSE_S):
                    return None


def _key(request: Request) -> AttemptKey:
    return AttemptKey(request.run, request.path, request.try_, request.attempt, request.phase)
