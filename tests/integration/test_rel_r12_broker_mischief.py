"""Strangers at the broker: nothing they send is acted on, all is put aside with a reason, and consumers live (R12).

What is authentic but old, late, out of order or doubled is either refused as expired, or handed out: then the claim of
its attempt refuses it (tests/conformance/test_claims.py).
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from time import monotonic, time_ns

import pytest

from flowledger.adapters.broker.consumer import Consumer
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.messages import MAX_BYTES, packed
from flowledger.adapters.keys import Key, new_key
from tests.strangers import Stranger, odd_properties, stranger

ROUNDS = 100 if os.environ.get("FLOWLEDGER_TEST_LONG") else 1
MESSAGES = 2_000  # in a round: what lies at the broker at once has to find room there
WAIT_S = 60.0
DAY_US = 86_400 * 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 60 * ROUNDS)]


def now_us() -> int:
    return time_ns() // 1000


class Mischief:
    """Makes bad messages of every kind; each of them has a reason to be put aside."""

    def __init__(self, key: Key, sender: Stranger, chance: random.Random) -> None:
        self._key = key
        self._sender = sender
        self._chance = chance
        self._odd = list(odd_properties().values())
        self.kinds: list[tuple[str, Callable[[], None]]] = [
            ("it has expired", self.last_week),
            ("its signature does not hold", self.changed),
            ("it is signed with a key that is not known here", self.unknown_key),
            ("it was meant for another queue", self.another_queue),
            ("its version is 2; known here is 1", self.another_version),
            ("it is no message of this protocol", self.truncated),
            ("it is no message of this protocol", self.wrong_type),
            ("its content type is not application/json", self.another_content_type),
            ("it is nested more than 200 deep", self.deep),
            ("its headers cannot be read", self.odd_headers),
        ]

    def good(self, number: int, *, expires_us: int | None = None, queue: str = "mail") -> bytes:
        end_us = now_us() + DAY_US if expires_us is None else expires_us
        return packed(b'{"n":%d}' % number, key=self._key, app="shop", queue=queue, expires_us=end_us)

    def send_good(self, number: int) -> None:
        self._sender.send(self.good(number))

    def last_week(self) -> None:
        self._sender.send(self.good(0, expires_us=now_us() - self._chance.randint(1, 7 * DAY_US)))

    def changed(self) -> None:
        body = self.good(0).replace(b'"n":0', b'"n":%d' % self._chance.randint(1, 9))
        self._sender.send(body)

    def unknown_key(self) -> None:
        self._sender.send(packed(b"{}", key=new_key("z", "hmac"), app="shop", queue="mail", expires_us=now_us() * 2))

    def another_queue(self) -> None:
        self._sender.send(self.good(0, queue="other"))

    def another_version(self) -> None:
        self._sender.send(self.good(0).replace(b'"v":1', b'"v":2'))

    def truncated(self) -> None:
        body = self.good(0)
        self._sender.send(body[: self._chance.randint(0, len(body) - 12)])

    def wrong_type(self) -> None:
        it = json.loads(self.good(0))
        name = self._chance.choice(["v", "key", "expires", "app", "queue", "mac"])
        it[name] = self._chance.choice([None, [], {}, True, 1.5, -1, [it[name]]])
        self._sender.send(json.dumps(it, separators=(",", ":")).encode())

    def another_content_type(self) -> None:
        self._sender.send(
            self.good(0), content_type=self._chance.choice(["text/plain", "application/data", "", "json"])
        )

    def deep(self) -> None:
        self._sender.send(self._chance.choice([b"[", b'{"a":']) * 100_000)

    def odd_headers(self) -> None:
        self._sender.send(self.good(0), raw_properties=self._chance.choice(self._odd))


def test_rel_r12_all_that_is_bad_is_put_aside_and_all_that_is_good_comes(rabbitmq_url: str, message_key: Key) -> None:
    chance = random.Random(12)
    with (
        stranger(rabbitmq_url) as sender,
        closing(Consumer(rabbitmq_url, app="shop", queues=["mail"], keys=[message_key], prefetch=100)) as consumer,
    ):
        mischief = Mischief(message_key, sender, chance)
        for _ in range(ROUNDS):
            # Given good messages, many of them sent three times, among bad ones of every kind, in any order
            goods, reasons = _sent(mischief, chance)

            # When a worker takes them all
            taken = _taken(consumer, len(goods))

            # Then it was given what is good and nothing else, and the rest was put aside with reasons
            assert Counter(taken) == Counter(b'{"n":%d}' % number for number in goods)
            letters = DeadLetters(rabbitmq_url, "shop").ls(limit=MESSAGES * 2)
            assert Counter(letter.reason for letter in letters) == Counter(reasons)
            assert {letter.queue for letter in letters} == {"mail"}
            assert DeadLetters(rabbitmq_url, "shop").drop_all() == len(letters)


def _sent(mischief: Mischief, chance: random.Random) -> tuple[list[int], list[str]]:
    """The numbers that were sent in good messages, and the reasons against the bad ones."""
    goods = [number for number in range(MESSAGES // 10) for _ in range(chance.choice([1, 1, 3]))]
    bads = [chance.choice(mischief.kinds) for _ in range(MESSAGES - len(goods))]
    todo = [lambda n=n: mischief.send_good(n) for n in goods] + [send for _, send in bads]
    chance.shuffle(todo)
    for send in todo:
        send()
    return goods, [why for why, _ in bads]


def _taken(consumer: Consumer, count: int) -> list[bytes]:
    """What comes until so many have come, and no more does; nothing breaks the link meanwhile."""
    taken: list[bytes] = []
    deadline = monotonic() + WAIT_S
    while len(taken) < count:
        assert monotonic() < deadline, f"{len(taken)} of {count}; {consumer.trouble}"
        for delivery in consumer.receive(1, 50):
            taken.append(delivery.content)
            delivery.ack()
        assert not consumer.trouble
    assert not consumer.receive(2, 50)
    return taken


def test_rel_r12_what_is_fifty_megabytes_long_is_put_aside_in_part(rabbitmq_url: str, message_key: Key) -> None:
    with (
        stranger(rabbitmq_url) as sender,
        closing(Consumer(rabbitmq_url, app="shop", queues=["mail"], keys=[message_key], prefetch=10)) as consumer,
    ):
        for _ in range(3):
            sender.send(b"{" * 50_000_000)
        sender.send(packed(b"1", key=message_key, app="shop", queue="mail", expires_us=now_us() + DAY_US))
        deadline = monotonic() + WAIT_S
        while not (found := consumer.receive(1, 10)):
            assert monotonic() < deadline
        found[0].ack()
        consumer.settle()
        assert not consumer.trouble

    letters = DeadLetters(rabbitmq_url, "shop").ls()
    assert [letter.reason for letter in letters] == [f"it is longer than {MAX_BYTES} bytes"] * 3
    assert {letter.length_bytes for letter in letters} == {50_000_000}
    assert all(len(letter.body) < 100_000 and not letter.is_whole for letter in letters)


@pytest.mark.parametrize("what", odd_properties())
def test_rel_r12_headers_that_cannot_be_read_break_no_link(rabbitmq_url: str, message_key: Key, what: str) -> None:
    good = packed(b"1", key=message_key, app="shop", queue="mail", expires_us=now_us() + DAY_US)
    with stranger(rabbitmq_url) as sender:
        sender.send(good, raw_properties=odd_properties()[what])
        sender.send(good)

    with closing(Consumer(rabbitmq_url, app="shop", queues=["mail"], keys=[message_key], prefetch=10)) as consumer:
        deadline = monotonic() + WAIT_S
        while not (found := consumer.receive(1, 10)):
            assert monotonic() < deadline
        assert not consumer.trouble
        assert len(found) == 1
    (letter,) = DeadLetters(rabbitmq_url, "shop").ls()
    assert (letter.reason, letter.body) == ("its headers cannot be read", good)
