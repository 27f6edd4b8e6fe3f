"""Sends requests to workers. Never in the way of who asks: a thread of its own does it, and keeps what is unconfirmed.

A message leaves this process's memory when the broker has confirmed it, or when it has expired: what it asks for is in
the log, and whoever asked sends it again. Messages may arrive twice; the claim of the attempt refuses the second.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Final

from flowledger.adapters.keys import Key
from flowledger.events.errors import KeyMissing

from .backing_off import BackOff
from .links import Link, LinkBroken, Outgoing
from .location import locate
from .messages import CONTENT_TYPE, MAX_BYTES, packed
from .naming import queue_name
from .wrapping import REQUEST, Wrapping

#: Messages that are sent before their confirmations are waited for.
_BATCH: Final = 500
_BATCH_BYTES: Final = 4_194_304
#: How much may wait for a broker that is away; the oldest go, with a warning.
_WAITING_BYTES: Final = 134_217_728
#: When a queue that was refused is tried again, in seconds.
_PUT_OFF_S: Final = 1.0
#: How often an idle link is looked at, in seconds.
_IDLE_S: Final = 1.0

_log = logging.getLogger("flowledger.broker")


@dataclass(eq=False)
class _Waiting:
    outgoing: Outgoing
    expires_s: float  # on the monotonic clock


class Publisher:
    """One per process. ``keys``: the first signs. ``now_us`` gives the time that ends of messages are told in: the
    store's, where clocks differ. ``wrapping`` encrypts what is secret.

    Raises:
        InputError: the URL names no broker.
    """

    def __init__(
        self,
        url: str,
        *,
        app: str,
        keys: Sequence[Key],
        confirm_timeout_s: float = 5.0,
        wrapping: Wrapping | None = None,
        now_us: Callable[[], int] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._location = locate(url)
        self._app = app
        self._key = keys[0]
        self._limit_s = confirm_timeout_s
        self._wrapping = wrapping
        self._now_us = now_us or (lambda: time.time_ns() // 1000)
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = Condition()
        self._closing_by_s: float | None = None
        self._link: Link | None = None
        self._available = False
        self._away_since_s = time.monotonic()  # while it is not available
        self._was_tried = False
        self._put_off: dict[str, float] = {}  # queues that were refused, and when they are tried again
        self.trouble: str = "the broker has not been reached yet"
        self._thread = Thread(target=self._run, name="flowledger-publisher", daemon=True)
        self._thread.start()

    def publish(self, queue: str, content: bytes, *, expires_s: float, secret: bool = False) -> None:
        """Have a request sent, soon and for certain unless it expires first; returns at once. From any thread.

        Args:
            queue: whose workers are asked.
            content: what they are asked, as JSON.
            expires_s: how long anybody may act on it.
            secret: whether it is to be encrypted.

        Raises:
            KeyMissing: it is secret, and there is no key to encrypt it with.
            PayloadTooLarge: it is too large for a message.
            InputError: it is nested too deeply.
        """
        if secret:
            if self._wrapping is None:
                raise KeyMissing("what is sent to workers holds secrets, and there is no key to encrypt it with")
            content = self._wrapping.wrapped(content, bound_to=REQUEST)
        body = packed(
            content, key=self._key, app=self._app, queue=queue, expires_us=self._now_us() + int(expires_s * 1e6),
            max_bytes=self._max_bytes,
        )  # fmt: skip
        outgoing = Outgoing(queue_name(self._app, queue), body, CONTENT_TYPE)
        with self._changed:
            self._waiting.append(_Waiting(outgoing, time.monotonic() + expires_s))
            self._waiting_bytes += len(body)
            self._make_room()
            self._changed.notify()

    @property
    def available(self) -> bool:
        """Whether the broker took what it was last given, and is still there as far as is known.

        Turns False within ``confirm_timeout_s`` of a message that is not confirmed; `trouble` says why.
        """
        return self._available

    @property
    def away_s(self) -> float:
        """For how many seconds the broker has not been available; 0 while it is."""
        return 0.0 if self._available else time.monotonic() - self._away_since_s

    @property
    def unconfirmed(self) -> int:
        """How many messages wait or are under way."""
        return len(self._waiting)

    def close(self) -> None:
        """Send what waits, for no longer than ``confirm_timeout_s``, and end. What is left is in the log."""
        with self._changed:
            self._closing_by_s = time.monotonic() + self._limit_s
            self._changed.notify()
        self._thread.join()

    # -- on the thread

    def _run(self) -> None:
        back_off = BackOff()
        while not self._is_over():
            try:
                if self._link is None:
                    self._link = Link(self._location, limit_s=self._limit_s)
                self._turn(self._link)
                back_off.reset()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever comes
                self._broken(error)
                with self._changed:
                    if self._closing_by_s is None:
                        self._changed.wait(back_off.next_s())
        self._end()

    def _turn(self, link: Link) -> None:
        """Send a batch, or see to an idle link.

        Raises:
            LinkBroken
        """
        with self._changed:
            batch = self._batch()
            if not batch and self._available and self._closing_by_s is None:
                self._changed.wait(_IDLE_S)
                batch = self._batch()
        try:
            link.send([each.outgoing for each in batch]) if batch else link.live()
        finally:
            self._forget_confirmed(len(batch))
        self._well()
        self._put_off_refused(batch, link)

    def _batch(self) -> list[_Waiting]:
        """The next that are to be sent; they stay where they are until they are confirmed."""
        now_s, batch, size = time.monotonic(), list[_Waiting](), 0
        while self._waiting and self._waiting[0].expires_s <= now_s:
            self._waiting_bytes -= len(self._waiting.popleft().outgoing.body)
        for each in self._waiting:
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                break
            if each.expires_s > now_s >= self._put_off.get(each.outgoing.place, now_s):
                each.outgoing.ttl_s = each.expires_s - now_s
                batch.append(each)
                size += len(each.outgoing.body)
        return batch

    def _forget_confirmed(self, sent: int) -> None:
        """Confirmed are mostly the first; only where some of them were not, all are looked at."""
        with self._changed:
            while self._waiting and self._waiting[0].outgoing.confirmed:
                self._waiting_bytes -= len(self._waiting.popleft().outgoing.body)
                sent -= 1
            if sent > 0:
                self._waiting = deque(each for each in self._waiting if not each.outgoing.confirmed)
                self._waiting_bytes = sum(len(each.outgoing.body) for each in self._waiting)

    def _put_off_refused(self, batch: Sequence[_Waiting], link: Link) -> None:
        """A queue that does not take its messages must not be in the way of others, nor be asked all the time."""
        refused = {each.outgoing.place for each in batch if not each.outgoing.confirmed}
        for place in refused:
            if place not in self._put_off:
                _log.warning("a queue takes no requests: %s", link.refusal)
            self._put_off[place] = time.monotonic() + _PUT_OFF_S
        for place in {each.outgoing.place for each in batch} - refused:
            self._put_off.pop(place, None)

    def _make_room(self) -> None:
        dropped = 0
        while self._waiting_bytes > _WAITING_BYTES and len(self._waiting) > 1:
            self._waiting_bytes -= len(self._waiting.popleft().outgoing.body)
            dropped += 1
        if dropped:
            _log.warning("the broker is away; %d requests to workers must be sent again later", dropped)

    def _well(self) -> None:
        if not self._available:
            _log.info("the broker at %s takes requests to workers", self._location)
        self._available, self.trouble, self._was_tried = True, "", True

    def _broken(self, error: Exception) -> None:
        if self._link is not None:
            self._link.drop()
            self._link = None
        said: str = str(error) if isinstance(error, LinkBroken) else f"{type(error).__name__}: {error}"
        if self._available:
            self._away_since_s = time.monotonic()
        if self._available or said != self.trouble:
            _log.warning("requests to workers wait for the broker: %s", said)
        self._available, self.trouble, self._was_tried = False, said, True

    def _is_over(self) -> bool:
        by_s = self._closing_by_s
        if by_s is None:
            return False
        is_away = self._was_tried and not self._available
        return not self._waiting or is_away or time.monotonic() >= by_s

    def _end(self) -> None:
        self._available = False
        if self._link is not None:
            self._link.close()
            self._link = None
