"""The broker killed, absent, cut off, silent: nothing is lost, nobody waits, consumers consume again (R7, R11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread
from time import monotonic

import pytest
from kombu.connection import Connection

from flowledger.adapters.broker.consumer import Consumer
from flowledger.adapters.broker.naming import queue_name
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.keys import Key
from tests.broker_servers import RabbitMQ, rabbitmq_node, redis_server
from tests.brokers import need_rabbitmq, need_redis
from tests.cutting_proxy import CuttingProxy, cutting
from tests.postgres_server import free_port

WAIT_S = 60.0
CONFIRM_S = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    need_rabbitmq()
    with rabbitmq_node() as running:
        yield running


@pytest.fixture
def proxy(node: RabbitMQ) -> Iterator[CuttingProxy]:
    with cutting(node.port) as between:
        yield between


class Worker:
    """Takes whatever comes, on a thread of its own, as a worker does."""

    def __init__(self, url: str, key: Key, *, app: str) -> None:
        self.taken: list[bytes] = []
        self.consumer = Consumer(url, app=app, queues=["mail"], keys=[key], prefetch=50, timeout_s=CONFIRM_S)
        self._ended = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            for delivery in self.consumer.receive(0.2, 20):
                self.taken.append(delivery.content)
                delivery.ack()
        self.consumer.close()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wait(until: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline, pause = monotonic() + WAIT_S, Event()
    while not until():
        assert monotonic() < deadline, otherwise()
        pause.wait(0.02)


def through(proxy: CuttingProxy) -> str:
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}//"


def number(n: int) -> bytes:
    return b'{"number":%d,"end":1}' % n


def test_rel_r7_killed_and_started_again_loses_nothing_and_is_consumed_again(
    node: RabbitMQ, message_key: Key, opened: ExitStack
) -> None:
    # Given a worker that takes requests, and a publisher
    publisher = opened.enter_context(
        closing(Publisher(node.url, app="r7", keys=[message_key], confirm_timeout_s=CONFIRM_S))
    )
    worker = opened.enter_context(closing(Worker(node.url, message_key, app="r7")))
    sent: list[bytes] = []

    def publish_300() -> None:
        for _ in range(300):
            sent.append(number(len(sent)))
            publisher.publish("mail", sent[-1], expires_s=600)

    for _ in range(3):
        # When the broker is killed while requests are on their way, and more come while it is away
        publish_300()
        wait(lambda: len(worker.taken) > 0, lambda: worker.consumer.trouble)
        node.stop()
        publish_300()
        wait(lambda: not publisher.available, lambda: "it still says that the broker is there")
        node.start()

        # Then all come, each at least once
        wait(
            lambda: len(set(worker.taken)) == len(sent),
            lambda: f"{len(set(worker.taken))} of {len(sent)}: {publisher.trouble} {worker.consumer.trouble}",
        )
        wait(lambda: publisher.available and publisher.unconfirmed == 0, lambda: publisher.trouble)
    assert set(worker.taken) == set(sent)


@pytest.mark.parametrize("where", ["request", "middle", "reply"])
def test_rel_r7_a_conversation_cut_anywhere_loses_nothing(
    node: RabbitMQ, proxy: CuttingProxy, message_key: Key, opened: ExitStack, where: str
) -> None:
    # Given a publisher behind a wire that is cut before, within, and after a request, before it is confirmed
    app = f"cut-{where}"
    publisher = opened.enter_context(closing(Publisher(through(proxy), app=app, keys=[message_key])))
    worker = opened.enter_context(closing(Worker(node.url, message_key, app=app)))

    # When that happens again and again
    for n in range(60):
        proxy.cut(b'"number":%d,' % n, where)  # type: ignore[arg-type]
        publisher.publish("mail", number(n), expires_s=600)
        wait(lambda: publisher.unconfirmed == 0, lambda: publisher.trouble)

    # Then each came, and where only the confirmation was cut, more than once
    wait(lambda: len(set(worker.taken)) == 60, lambda: f"{len(set(worker.taken))} of 60")
    assert proxy.cuts == 60
    assert (len(worker.taken) > 60) == (where == "reply")


def test_rel_r11_reset_while_many_are_under_way_loses_nothing(
    node: RabbitMQ, proxy: CuttingProxy, message_key: Key, opened: ExitStack
) -> None:
    publisher = opened.enter_context(closing(Publisher(through(proxy), app="reset", keys=[message_key])))
    worker = opened.enter_context(closing(Worker(through(proxy), message_key, app="reset")))

    for n in range(4_000):
        publisher.publish("mail", number(n), expires_s=600)
        if n % 400 == 399:
            wait(lambda n=n: len(worker.taken) > n // 2, lambda: worker.consumer.trouble)  # type: ignore[misc]
            proxy.drop_all()

    wait(lambda: len(set(worker.taken)) == 4_000, lambda: f"{len(set(worker.taken))} of 4,000")


def test_rel_r11_a_broker_that_falls_silent_is_in_nobodys_way(
    node: RabbitMQ, proxy: CuttingProxy, message_key: Key, opened: ExitStack
) -> None:
    # Given a publisher and a worker with links that work
    publisher = opened.enter_context(
        closing(Publisher(through(proxy), app="silent", keys=[message_key], confirm_timeout_s=CONFIRM_S))
    )
    worker = opened.enter_context(closing(Worker(through(proxy), message_key, app="silent")))
    publisher.publish("mail", number(0), expires_s=600)
    wait(lambda: bool(worker.taken) and publisher.available, lambda: publisher.trouble)

    # When nothing passes any more, and nobody is told
    proxy.mode = "black hole"
    for n in range(1, 2_000):
        publisher.publish("mail", number(n), expires_s=600)

    # Then nobody has waited, it is said that the broker is away, by both, and once it is back all come
    wait(lambda: not publisher.available, lambda: "it still says that the broker is there")
    assert "confirm" in publisher.trouble or "cannot be reached" in publisher.trouble
    wait(lambda: not worker.consumer.available, lambda: "the consumer still says that the broker is there")
    proxy.mode = "pass"
    proxy.drop_all()
    wait(lambda: len(set(worker.taken)) == 2_000, lambda: f"{len(set(worker.taken))}: {publisher.trouble}")


def test_rel_r11_half_open_links_are_found_out(
    node: RabbitMQ, proxy: CuttingProxy, message_key: Key, opened: ExitStack
) -> None:
    # Given a worker whose link the broker no longer has, of which the worker has not been told
    worker = opened.enter_context(closing(Worker(through(proxy), message_key, app="half")))
    publisher = opened.enter_context(closing(Publisher(node.url, app="half", keys=[message_key])))
    publisher.publish("mail", number(0), expires_s=600)
    wait(lambda: bool(worker.taken), lambda: worker.consumer.trouble)
    proxy.mode = "black hole"
    proxy.drop_all(sides="server")
    publisher.publish("mail", number(1), expires_s=600)

    # When it is out of heartbeats, and can reach the broker again
    wait(lambda: not worker.consumer.available, lambda: "it still says that the broker is there")
    proxy.mode = "pass"

    # Then it has what came meanwhile
    wait(lambda: len(worker.taken) == 2, lambda: worker.consumer.trouble)


def test_rel_r7_a_broker_that_is_not_there_when_we_start_is_waited_for(message_key: Key, opened: ExitStack) -> None:
    port = free_port()
    url = f"amqp://guest:hunter2@127.0.0.1:{port}//"
    publisher = opened.enter_context(closing(Publisher(url, app="early", keys=[message_key])))
    consumer = opened.enter_context(closing(Consumer(url, app="early", queues=["a"], keys=[message_key], prefetch=1)))

    for n in range(1_000):
        publisher.publish("a", number(n), expires_s=600)

    assert consumer.receive(0.5, 1) == []
    wait(lambda: "cannot be reached" in publisher.trouble, lambda: publisher.trouble)
    assert f"127.0.0.1:{port}" in consumer.trouble
    assert "hunter2" not in publisher.trouble + consumer.trouble
    assert not publisher.available
    assert publisher.unconfirmed == 1_000


@pytest.mark.parametrize("url", ["amqp://guest:hunter2@127.0.0.1:{}//", "amqp://guest:guest@127.0.0.1:{}/nowhere"])
def test_who_is_not_let_in_says_so_without_the_password(
    node: RabbitMQ, message_key: Key, opened: ExitStack, url: str
) -> None:
    publisher = opened.enter_context(closing(Publisher(url.format(node.port), app="x", keys=[message_key])))

    wait(lambda: "not been reached yet" not in publisher.trouble, lambda: publisher.trouble)

    assert "refused" in publisher.trouble.lower() or "not found" in publisher.trouble.lower(), publisher.trouble
    assert "hunter2" not in publisher.trouble


def test_a_queue_that_is_deleted_is_made_again(node: RabbitMQ, message_key: Key, opened: ExitStack) -> None:
    # Given a worker and a publisher that have used the queue
    publisher = opened.enter_context(closing(Publisher(node.url, app="gone", keys=[message_key])))
    worker = opened.enter_context(closing(Worker(node.url, message_key, app="gone")))
    publisher.publish("mail", number(0), expires_s=600)
    wait(lambda: len(worker.taken) == 1, lambda: worker.consumer.trouble)

    # When somebody deletes it
    connect: type[Connection] = Connection
    with connect(node.url) as connection:
        connection.channel().queue_delete(queue_name("gone", "mail"))
    publisher.publish("mail", number(1), expires_s=600)

    # Then what is sent afterwards comes all the same
    wait(lambda: len(worker.taken) == 2, lambda: f"{publisher.trouble} {worker.consumer.trouble}")


def test_a_redis_that_is_killed_is_consumed_again(message_key: Key, opened: ExitStack) -> None:
    # Given a publisher and a worker at a Redis
    need_redis()
    server = opened.enter_context(redis_server())
    publisher = opened.enter_context(closing(Publisher(server.url, app="redis", keys=[message_key])))
    worker = opened.enter_context(closing(Worker(server.url, message_key, app="redis")))
    for n in range(3):
        publisher.publish("mail", number(n), expires_s=600)
        wait(lambda n=n: len(worker.taken) == n + 1, lambda: worker.consumer.trouble)  # type: ignore[misc]

        # When it is killed, and comes back empty
        server.stop()
        wait(lambda: not publisher.available, lambda: "it still says that the broker is there")
        server.start()

    # Then they go on
    wait(lambda: publisher.available, lambda: publisher.trouble)
    wait(lambda: worker.consumer.available, lambda: worker.consumer.trouble)
