"""What requests to workers may rely on, whichever broker carries them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic

import pytest

from flowledger.adapters.broker.consumer import Consumer, Delivery
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.links import Link
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.broker.wrapping import Wrapping
from flowledger.adapters.keys import Key, new_key

NewConsumer = Callable[..., Consumer]
NewPublisher = Callable[..., Publisher]

WAIT_S = 30.0


@pytest.fixture
def new_consumer(broker_url: str, message_key: Key) -> Iterator[NewConsumer]:
    made: list[Consumer] = []

    def new(
        *queues: str, prefetch: int = 100, keys: tuple[Key, ...] = (), wrapping: Wrapping | None = None
    ) -> Consumer:
        made.append(
            Consumer(
                broker_url, app="shop", queues=queues or ("mail",), keys=keys or (message_key,), prefetch=prefetch,
                wrapping=wrapping,
            )
        )  # fmt: skip
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def new_publisher(broker_url: str, message_key: Key) -> Iterator[NewPublisher]:
    made: list[Publisher] = []

    def new(*keys: Key, wrapping: Wrapping | None = None, app: str = "shop") -> Publisher:
        made.append(Publisher(broker_url, app=app, keys=keys or (message_key,), wrapping=wrapping))
        return made[-1]

    yield new
    for each in made:
        each.close()


def received(consumer: Consumer, number: int) -> list[Delivery]:
    """So many deliveries, each acknowledged."""
    found: list[Delivery] = []
    deadline = monotonic() + WAIT_S
    while len(found) < number:
        assert monotonic() < deadline, f"{len(found)} of {number} have come; {consumer.trouble}"
        for each in consumer.receive(1, number - len(found)):
            each.ack()
            found.append(each)
    consumer.settle()
    return found


def parked(broker_url: str, number: int, consumer: Consumer) -> list[str]:
    """The reasons of so many messages that were put aside, in order."""
    letters = DeadLetters(broker_url, "shop")
    deadline = monotonic() + WAIT_S
    while len(found := letters.ls()) < number:
        assert monotonic() < deadline, f"{len(found)} of {number} were put aside"
        assert not consumer.receive(0.1, 10)
    return sorted(each.reason for each in found)


def test_what_is_published_is_received_in_order(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    publisher, consumer = new_publisher(), new_consumer()

    for number in range(300):
        publisher.publish("mail", b'{"n":%d}' % number, expires_s=60)
    found = received(consumer, 300)

    assert [each.content for each in found] == [b'{"n":%d}' % number for number in range(300)]
    assert {each.queue for each in found} == {"mail"}
    assert consumer.available
    deadline = monotonic() + WAIT_S
    while not publisher.available or publisher.unconfirmed:  # its confirmations may come after the messages
        assert monotonic() < deadline, publisher.trouble


def test_it_waits_for_a_consumer_that_comes_later(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    publisher = new_publisher()
    publisher.publish("mail", b"1", expires_s=60)
    publisher.close()

    (found,) = received(new_consumer(), 1)

    assert found.content == b"1"


def test_a_queue_gets_what_is_meant_for_it(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    publisher = new_publisher()
    names = ["mail", "e.mail", "mail me", "Köln", "漢" * 100]

    for name in names:
        publisher.publish(name, b"1", expires_s=60)

    for name in names:
        (found,) = received(new_consumer(name), 1)
        assert found.queue == name


def test_an_app_gets_what_is_meant_for_it(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    new_publisher(app="shop.mail").publish("x", b"1", expires_s=60)
    new_publisher().publish("mail.x", b"2", expires_s=60)

    (found,) = received(new_consumer("mail.x"), 1)

    assert found.content == b"2"


def test_no_more_than_prefetch_are_out_at_once(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    publisher, consumer = new_publisher(), new_consumer(prefetch=5)
    for _ in range(20):
        publisher.publish("mail", b"1", expires_s=60)
    publisher.close()

    first: list[Delivery] = []
    deadline = monotonic() + WAIT_S
    while len(first) < 5:
        assert monotonic() < deadline
        first += consumer.receive(1, 20)
    assert len(first) == 5
    assert not consumer.receive(0.2, 20)
    first[0].ack()
    consumer.settle()

    assert len(consumer.receive(5, 20)) == 1


def test_what_was_not_acknowledged_is_given_to_another(
    broker_url: str, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    if broker_url == "memory://":
        pytest.skip("what is in memory is gone with who had it")
    publisher, first = new_publisher(), new_consumer()
    publisher.publish("mail", b"1", expires_s=60)
    deadline = monotonic() + WAIT_S
    while not first.receive(1, 1):
        assert monotonic() < deadline

    first.close()

    assert received(new_consumer(), 1)[0].content == b"1"


def test_acknowledging_one_acknowledges_no_other(
    broker_url: str, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    if broker_url == "memory://":
        pytest.skip("what is in memory is gone with who had it")
    # Given ten that were handed out
    publisher, first = new_publisher(), new_consumer()
    for number in range(10):
        publisher.publish("mail", b"%d" % number, expires_s=60)
    found: list[Delivery] = []
    deadline = monotonic() + WAIT_S
    while len(found) < 10:
        assert monotonic() < deadline
        found += first.receive(1, 10)

    # When some are acknowledged, in no order, and whoever had them is gone
    for number in (7, 3, 9, 0, 1):
        found[number].ack()
    first.settle()
    first.close()

    # Then all others are given to another
    assert {each.content for each in received(new_consumer(), 5)} == {b"2", b"4", b"5", b"6", b"8"}


def test_any_thread_may_acknowledge_and_put_aside(
    broker_url: str, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    publisher, consumer = new_publisher(), new_consumer()
    for number in range(40):
        publisher.publish("mail", b"%d" % number, expires_s=60)
    found: list[Delivery] = []
    deadline = monotonic() + WAIT_S
    while len(found) < 40:
        assert monotonic() < deadline
        found += consumer.receive(1, 40)

    threads = [
        threading.Thread(target=lambda each=each, n=n: each.park("no task") if n % 2 else each.ack())
        for n, each in enumerate(found)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert parked(broker_url, 20, consumer) == ["no task"] * 20
    consumer.close()
    assert not new_consumer().receive(1, 1), "nothing has come back"


def test_what_was_put_aside_is_kept_with_where_it_was(
    broker_url: str, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    publisher, consumer = new_publisher(), new_consumer()
    publisher.publish("mail", b'{"n":1}', expires_s=60)
    deadline = monotonic() + WAIT_S
    while not (found := consumer.receive(1, 1)):
        assert monotonic() < deadline

    found[0].park("the task is not known here")

    assert parked(broker_url, 1, consumer) == ["the task is not known here"]
    (letter,) = DeadLetters(broker_url, "shop").ls()
    assert letter.queue == "mail"
    assert letter.body.endswith(b'"content":{"n":1}}')
    assert letter.is_whole


def test_keys_are_exchanged_while_messages_are_under_way(
    broker_url: str, message_key: Key, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    # Given a new key that signs, first known to consumers, then used by publishers
    new, foreign = new_key("new", "hmac"), new_key("tests", "hmac")
    both = new_consumer(keys=(new, message_key))

    # When each signs, and somebody who has another key of the same name
    for key in (message_key, new, foreign):
        new_publisher(key).publish("mail", b'"%b"' % key.name.encode(), expires_s=60)

    # Then both are taken, and the stranger's is put aside
    assert sorted(each.content for each in received(both, 2)) == [b'"new"', b'"tests"']
    assert parked(broker_url, 1, both) == ["its signature does not hold"]


def test_secrets_are_encrypted_on_their_way(
    broker_url: str, new_publisher: NewPublisher, new_consumer: NewConsumer
) -> None:
    # Given a publisher and workers, of which one lacks the key
    key = new_key("codec", "aes")
    publisher = new_publisher(wrapping=Wrapping([key]))
    knowing, ignorant = new_consumer("known", wrapping=Wrapping([key])), new_consumer("unknown")

    # When something secret is sent to both
    for queue in ("known", "unknown"):
        publisher.publish(queue, b'{"password":"hunter2"}', expires_s=60, secret=True)

    # Then one reads it, and knows that the answer is secret, too; with the other it is put aside, still encrypted
    (found,) = received(knowing, 1)
    assert (found.content, found.was_secret) == (b'{"password":"hunter2"}', True)
    assert parked(broker_url, 1, ignorant) == ["it is encrypted by 'codec', which CODEC_KEYS lacks"]
    (letter,) = DeadLetters(broker_url, "shop").ls()
    assert b"hunter2" not in letter.body
    assert b"encrypted" in letter.body


def test_what_has_expired_is_not_sent(new_publisher: NewPublisher, new_consumer: NewConsumer) -> None:
    publisher, consumer = new_publisher(), new_consumer()

    publisher.publish("mail", b"1", expires_s=0)
    publisher.publish("mail", b"2", expires_s=60)

    assert received(consumer, 1)[0].content == b"2"


def test_a_consumer_that_wants_nothing_waits_and_loses_nothing(
    new_publisher: NewPublisher, new_consumer: NewConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher, consumer = new_publisher(), new_consumer()
    publisher.publish("mail", b"1", expires_s=60)
    looks: list[float] = []
    drain = Link.drain

    def look(link: Link, timeout_s: float) -> bool:
        looks.append(timeout_s)
        return drain(link, timeout_s)

    monkeypatch.setattr(Link, "drain", look)

    assert consumer.receive(1, 0) == []

    assert len(looks) < 50, "it has waited, not asked again and again"
    assert received(consumer, 1)[0].content == b"1"


def test_closing_sends_what_waits(broker_url: str, message_key: Key, new_consumer: NewConsumer) -> None:
    with closing(Publisher(broker_url, app="shop", keys=[message_key])) as publisher:
        for _ in range(1000):
            publisher.publish("mail", b"1", expires_s=60)

    assert publisher.unconfirmed == 0
    assert len(received(new_consumer(), 1000)) == 1000


def test_closing_at_once_sends_what_waits(broker_url: str, message_key: Key, new_consumer: NewConsumer) -> None:
    with closing(Publisher(broker_url, app="shop", keys=[message_key])) as publisher:
        publisher.publish("mail", b"1", expires_s=60)

    assert len(received(new_consumer(), 1)) == 1
