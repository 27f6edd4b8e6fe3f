"""Messages that nobody could read, or act on: looked at, sent again, dropped by people.

They lie in a queue of the broker. Looking takes them in hand for a moment: somebody else who looks then sees fewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from flowledger.adapters.keys import Key
from flowledger.events.errors import BrokerUnavailable, DeadLetterNotFound, IllegalRequest

from .letters import DeadLetter, letter_of
from .links import Link, LinkBroken, Outgoing
from .location import locate
from .messages import CONTENT_TYPE, Expected, Unreadable, by_name, packed, unpacked
from .naming import dead_queue_name, queue_name


class DeadLetters:
    """Of one app. All methods raise `BrokerUnavailable`; those that take an ``id`` take the beginning of one.

    ``keys`` are those that messages are signed with: only `replay` needs them.

    Raises:
        InputError: the URL names no broker.
    """

    def __init__(
        self, url: str, app: str, *, keys: Sequence[Key] = (), timeout_s: float = 5.0,
        now_us: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._location = locate(url)
        self._app = app
        self._keys = keys
        self._timeout_s = timeout_s
        self._now_us = now_us or (lambda: time.time_ns() // 1000)
        self._place = dead_queue_name(app)

    def ls(self, *, limit: int = 1000) -> list[DeadLetter]:
        """The oldest ``limit``, in the order in which they were put aside."""
        with self._in_hand() as letters:
            return [letter for _, letter in islice(letters, limit)]

    def show(self, id_: str) -> DeadLetter:
        """One of them.

        Raises:
            DeadLetterNotFound
        """
        with self._in_hand() as letters:
            return letters.find(id_)[1]

    def replay(self, id_: str, *, expires_s: float = 3600.0) -> DeadLetter:
        """Send one to its queue again, signed anew, and drop it here. An attempt that has been made is not made twice.

        Raises:
            DeadLetterNotFound
            IllegalRequest: it never was a message that could be trusted; it stays where it is.
        """
        with self._in_hand() as letters:
            tag, letter = letters.find(id_)
            letters.send_instead(tag, self._again(letter, expires_s))
            return letter

    def drop(self, id_: str) -> DeadLetter:
        """Remove one for good.

        Raises:
            DeadLetterNotFound
        """
        with self._in_hand() as letters:
            tag, letter = letters.find(id_)
            letters.settle(tag)
            return letter

    def replay_all(self, *, expires_s: float = 3600.0) -> tuple[int, int]:
        """Send again all that can be: how many were, and how many stay."""
        sent = stayed = 0
        with self._in_hand() as letters:
            for tag, letter in letters:
                try:
                    again = self._again(letter, expires_s)
                except IllegalRequest:
                    stayed += 1
                    continue
                letters.send_instead(tag, again)
                sent += 1
        return sent, stayed

    def drop_all(self) -> int:
        """Remove all for good; how many there were."""
        dropped = 0
        with self._in_hand() as letters:
            for tag, _ in letters:
                letters.settle(tag)
                dropped += 1
        return dropped

    @contextmanager
    def _in_hand(self) -> Generator[_InHand]:
        """The letters, as long as somebody looks; afterwards they are back."""
        try:
            link = Link(self._location, limit_s=self._timeout_s)
            try:
                if not link.declare(self._place):
                    raise BrokerUnavailable(link.refusal)
                letters = _InHand(link, self._place)
                try:
                    yield letters
                finally:
                    letters.put_back()
            finally:
                link.close()
        except LinkBroken as error:
            raise BrokerUnavailable(str(error)) from error

    def _again(self, letter: DeadLetter, expires_s: float) -> Outgoing:
        """The message once more; its content is taken only from under a signature that holds."""
        now_us = self._now_us()
        try:
            expected = Expected(by_name(self._keys), self._app, letter.queue, now_us=-1)
            content = unpacked(letter.body, letter.content_type, None, expected)
        except Unreadable as error:
            raise IllegalRequest(
                f"the message {letter.id} cannot be sent again: {error}",
                hint="what it asked for is in the log, and is asked again by itself; `flowledger dlq drop` removes it",
            ) from error
        body = packed(
            content, key=self._keys[0], app=self._app, queue=letter.queue, expires_us=now_us + int(expires_s * 1e6)
        )
        return Outgoing(queue_name(self._app, letter.queue), body, CONTENT_TYPE, ttl_s=expires_s)


class _InHand:
    """Letters taken from their queue, one by one, until somebody has seen enough."""

    def __init__(self, link: Link, place: str) -> None:
        self._link = link
        self._place = place
        self._tags: list[Any] = []

    def __iter__(self) -> Iterator[tuple[Any, DeadLetter]]:
        while (message := self._link.get(self._place)) is not None:
            self._tags.append(message.tag)
            yield message.tag, letter_of(message)

    def find(self, id_: str) -> tuple[Any, DeadLetter]:
        """The first whose id begins so.

        Raises:
            DeadLetterNotFound
        """
        found = next(((tag, letter) for tag, letter in self if id_ and letter.id.startswith(id_.upper())), None)
        if found is None:
            raise DeadLetterNotFound(f"no message that was put aside has the id {id_!r}")
        return found

    def send_instead(self, tag: Any, again: Outgoing) -> None:
        """This one is gone, once the other has been taken.

        Raises:
            BrokerUnavailable: that was refused.
        """
        self._link.send([again])
        if not again.confirmed:
            raise BrokerUnavailable(self._link.refusal)
        self.settle(tag)

    def settle(self, tag: Any) -> None:
        """This one is gone."""
        self._link.settle([tag])
        self._tags.remove(tag)

    def put_back(self) -> None:
        """All others are where they were."""
        for tag in self._tags:
            self._link.put_back(tag)
