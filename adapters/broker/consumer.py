"""Receives requests for a worker. It makes its link anew, with all it consumes, whenever that breaks.

What cannot be verified is put aside with its reason and never handed out. What is handed out stays the broker's until
it is acknowledged: a worker that dies before has lost nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, RLock
from typing import Any, Final

from flowledger.adapters.keys import Key
from flowledger.events.errors import FlowledgerError

from .backing_off import BackOff
from .letters import dead_letter
from .links import Incoming, Link, LinkBroken, Outgoing
from .location import locate
from .messages import MAX_BYTES, Expected, Unreadable, by_name, is_too_deep, unpacked
from .naming import queue_name
from .wrapping import REQUEST, Wrapping, is_wrapped

#: How long a wait may be in one piece: acknowledgements of other threads and heartbeats must not wait longer.
_SLICE_S: Final = 0.5
_BUSY_SLICE_S: Final = 0.05
#: How often one kind of message that was put aside is logged, in seconds.
_COMPLAIN_S: Final = 60.0
_MOST_KINDS: Final = 1_000

_log = logging.getLogger("flowledger.broker")


@dataclass(frozen=True, eq=False)
class Delivery:
    """A verified request. ``was_secret``: it came encrypted, and so must what is answered.

    ``came`` (how it came: what is put aside) and ``link`` are the consumer's.
    """

    queue: str
    content: bytes
    was_secret: bool
    came: Incoming = field(repr=False)
    link: Link = field(repr=False)
    _settle: Callable[[Delivery, str | None], None] = field(repr=False)

    def ack(self) -> None:
        """It has been dealt with. From any thread; sent with the consumer's next `receive` or `settle`."""
        self._settle(self, None)

    def park(self, reason: str) -> None:
        """Put it aside for people, with the reason. From any thread; as `ack`."""
        self._settle(self, reason)


@dataclass(frozen=True, eq=False)
class _Settled:
    tag: Any
    link: Link
    letter: Outgoing | None = None


class Consumer:
    """For one thread, which calls `receive` again and again, at least every few seconds, also with ``most=0``: it is
    what keeps the link alive. `ack` and `park` of deliveries may be called by others.

    ``now_us`` gives the time that ends of messages are told in (the store's); ``prefetch`` bounds what is unsettled.

    Raises:
        InputError: the URL names no broker.
    """

    def __init__(
        self,
        url: str,
        *,
        app: str,
        queues: Sequence[str],
        keys: Sequence[Key],
        prefetch: int,
        wrapping: Wrapping | None = None,
        timeout_s: float = 5.0,
        now_us: Callable[[], int] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._location = locate(url)
        self._app = app
        self._places = {queue_name(app, queue): queue for queue in queues}
        self._keys = by_name(keys)
        self._prefetch = prefetch
        self._wrapping = wrapping or Wrapping(())
        self._timeout_s = timeout_s
        self._now_us = now_us or (lambda: time.time_ns() // 1000)
        self._max_bytes = max_bytes
        self._link: Link | None = None
        self._ready: deque[Delivery] = deque()
        self._settled: deque[_Settled] = deque()
        self._open_tags: set[Any] = set()
        self._complaints: dict[tuple[str, str], tuple[float, int]] = {}
        self._back_off = BackOff()
        self._next_try_s = 0.0
        self._lived_s = 0.0
        self._closing = Event()
        self._turn = RLock()
        self.trouble = "the broker has not been reached yet"

    @property
    def available(self) -> bool:
        """Whether there is a link over which messages come; `trouble` says why not."""
        return self._link is not None

    def receive(self, timeout_s: float, most: int) -> list[Delivery]:
        """The next requests: what is there, or the first that comes within ``timeout_s``; none if none comes, or
        while the broker is away. May take ``timeout_s`` of the constructor longer while it is tried again.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._turn:
            while not self._closing.is_set():
                try:
                    if self._link is None and not self._reopened(deadline_s):
                        return []
                    self._take_in(deadline_s, most)
                except LinkBroken as error:
                    self._broken(error)
                left_s = deadline_s - time.monotonic()
                if (self._ready and most) or left_s <= 0:
                    break
            return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    def settle(self) -> None:
        """Send what has been acknowledged and put aside by now; `receive` does it, too."""
        with self._turn:
            try:
                self._send_settled()
            except LinkBroken as error:
                self._broken(error)

    def close(self) -> None:
        """Settle what is settled, and go; what was handed out and not settled goes back to its queue."""
        self._closing.set()
        with self._turn:
            self.settle()
            self._ready.clear()
            if self._link is not None:
                self._link.close()
                self._link = None

    # -- the link

    def _reopened(self, deadline_s: float) -> bool:
        """Whether there is a link now; waits for the next try, but not longer than until the deadline."""
        wait_s = self._next_try_s - time.monotonic()
        if wait_s > 0:
            self._closing.wait(min(wait_s, max(0.0, deadline_s - time.monotonic())))
            if time.monotonic() < self._next_try_s:
                return False
        self._open_tags.clear()
        self._link = Link(self._location, limit_s=self._timeout_s, keep_bytes=self._max_bytes + 1)
        self._link.consume(self._places, self._take, prefetch=self._prefetch)
        self._lived_s = time.monotonic()
        _log.info("requests come from the broker at %s", self._location)
        self.trouble = ""
        return True

    def _broken(self, error: LinkBroken) -> None:
        if str(error) != self.trouble:
            _log.warning("no requests come: %s", error)
        self.trouble = str(error)
        if self._link is not None:
            self._link.drop()
            self._link = None
        self._ready.clear()  # the broker has them again, and gives them to whoever is there
        self._next_try_s = time.monotonic() + self._back_off.next_s()

    # -- taking in

    def _take_in(self, deadline_s: float, most: int) -> None:
        """Wait for messages, and then for no more; settle what is settled.

        Raises:
            LinkBroken
        """
        link = self._link
        assert link is not None
        self._send_settled()
        longest_s = _BUSY_SLICE_S if self._open_tags else _SLICE_S
        left_s = 0.0 if self._ready and most else max(0.0, deadline_s - time.monotonic())
        while link.drain(min(left_s, longest_s)) and len(self._ready) < most:
            left_s = 0.0
        self._send_settled()
        if time.monotonic() - self._lived_s >= 1:
            self._lived_s = time.monotonic()
            link.live()
            self._back_off.reset()

    def _take(self, place: str, message: Incoming) -> None:
        """One message has come. Sends nothing: it is called while the link drains."""
        link = self._link
        assert link is not None
        queue = self._places[place]
        self._open_tags.add(message.tag)
        try:
            content, was_secret = self._verified(queue, message)
        except Unreadable as error:
            self._settled.append(_Settled(message.tag, link, self._letter(queue, str(error), message)))
        except Exception as error:  # noqa: BLE001 - nothing that comes may end a worker
            reason = f"it could not be read: {type(error).__name__}"
            self._settled.append(_Settled(message.tag, link, self._letter(queue, reason, message)))
        else:
            self._ready.append(Delivery(queue, content, was_secret, message, link, self._note))

    def _verified(self, queue: str, message: Incoming) -> tuple[bytes, bool]:
        if message.is_odd:
            raise Unreadable("its headers cannot be read")
        expected = Expected(self._keys, self._app, queue, self._now_us(), self._max_bytes)
        content = unpacked(message.body, message.content_type, message.content_encoding, expected)
        if not is_wrapped(content):
            return content, False
        try:
            content = self._wrapping.opened(content, bound_to=REQUEST)
        except FlowledgerError as error:
            raise Unreadable(error.message) from error
        if is_too_deep(content):
            raise Unreadable("what is encrypted in it is nested too deeply")
        return content, True

    # -- settling

    def _note(self, delivery: Delivery, reason: str | None) -> None:
        # What is kept is the message as it came: encrypted, if it was.
        letter = None if reason is None else self._letter(delivery.queue, reason, delivery.came)
        self._settled.append(_Settled(delivery.came.tag, delivery.link, letter))

    def _letter(self, queue: str, reason: str, message: Incoming) -> Outgoing:
        self._complain(queue, reason)
        return dead_letter(self._app, queue, reason, message, now_us=self._now_us(), keep_bytes=self._max_bytes)

    def _complain(self, queue: str, reason: str) -> None:
        """Log the first of its kind, and from then on once a minute how many there were: strangers can send many."""
        last_s, since = self._complaints.get((queue, reason), (-_COMPLAIN_S, 0))
        now_s = time.monotonic()
        if now_s - last_s < _COMPLAIN_S:
            self._complaints[queue, reason] = (last_s, since + 1)
            return
        if len(self._complaints) >= _MOST_KINDS:
            self._complaints.clear()
        more = f" (and {since} before)" if since else ""
        _log.warning("a message of the queue %r was put aside: %s%s", queue, reason, more)
        self._complaints[queue, reason] = (now_s, 0)

    def _send_settled(self) -> None:
        """Put aside what is to be, and only then acknowledge.

        Raises:
            LinkBroken
        """
        link, done = self._link, list[_Settled]()
        if link is None:
            return
        while self._settled:
            each = self._settled.popleft()
            if each.link is link and each.tag in self._open_tags:  # another link's messages are the broker's again
                done.append(each)
        letters = [each.letter for each in done if each.letter is not None]
        link.send(letters)
        if not all(letter.confirmed for letter in letters):
            raise LinkBroken(link.refusal)
        self._open_tags.difference_update(each.tag for each in done)
        _acknowledge(link, [each.tag for each in done], self._open_tags)


def _acknowledge(link: Link, tags: list[Any], still_open: set[Any]) -> None:
    """In as few words as can be: where messages are numbered, all up to the first that is open in one.

    Raises:
        LinkBroken
    """
    if link.counts_tags and len(tags) > 1:
        first_open = min(still_open, default=None)
        together = [tag for tag in tags if first_open is None or tag < first_open]
        if together:
            link.settle_up_to(max(together))
            tags = [tag for tag in tags if tag > max(together)]
    link.settle(tags)
