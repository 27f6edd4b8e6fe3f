"""Brokers as people set them up: with TLS, quorum queues, few permissions, full memory; and odd bytes in Redis."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from queue import Queue
from threading import Barrier, BrokenBarrierError, Event, Thread
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.connection import Connection
from kombu.transport import memory

from flowledger.adapters.broker.consumer import Consumer
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.links import Incoming, Link, Outgoing
from flowledger.adapters.broker.location import locate
from flowledger.adapters.broker.naming import queue_name
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.keys import Key
from tests.broker_servers import RabbitMQ, control, rabbitmq_node, redis_server
from tests.brokers import need_rabbitmq, need_redis
from tests.postgres_server import free_port

WAIT_S = 30.0

pytestmark = pytest.mark.slow


class Certificates:
    """An authority, and what it says of 127.0.0.1 (``own``) and of another host (``other``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.ca = self._write("ca", _certificate(name, name, authority, authority, None))
        for who, address in (("own", "127.0.0.1"), ("other", "192.0.2.1")):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
            self._write(who, _certificate(subject, name, key, authority, address))
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            (folder / f"{who}.key").write_bytes(pem)

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey,
    address: str | None,
) -> x509.Certificate:  # fmt: skip
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )  # fmt: skip
    if address is None:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(by, hashes.SHA256())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def node(certificates: Certificates) -> Iterator[tuple[RabbitMQ, int]]:
    """A RabbitMQ, and the port where it speaks TLS."""
    need_rabbitmq()
    port, folder = free_port(), certificates.folder
    settings = (
        f"listeners.ssl.1 = 127.0.0.1:{port}", f"ssl_options.cacertfile = {folder}/ca.pem",
        f"ssl_options.certfile = {folder}/own.pem", f"ssl_options.keyfile = {folder}/own.key",
        "ssl_options.verify = verify_none",
    )  # fmt: skip
    with rabbitmq_node(settings=settings) as running:
        yield running, port


def wait(until: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline, pause = monotonic() + WAIT_S, Event()
    while not until():
        assert monotonic() < deadline, otherwise()
        pause.wait(0.02)


def crosses(url: str, key: Key, *, app: str) -> None:
    """A message gets from a publisher to a consumer, and one that is put aside to people."""
    with (
        closing(Publisher(url, app=app, keys=[key])) as publisher,
        closing(Consumer(url, app=app, queues=["mail"], keys=[key], prefetch=10)) as consumer,
    ):
        for n in range(2):
            publisher.publish("mail", b"%d" % n, expires_s=60)
        deadline, seen = monotonic() + WAIT_S, set[bytes]()
        while not {b"0", b"1"} <= seen:
            assert monotonic() < deadline, f"{publisher.trouble} {consumer.trouble}"
            for delivery in consumer.receive(1, 100):
                delivery.ack() if seen else delivery.park("to see it")
                seen.add(delivery.content)
        consumer.settle()
        assert not consumer.trouble
        assert not publisher.trouble
    assert [letter.reason for letter in DeadLetters(url, app).ls()] == ["to see it"]


def never_crosses(url: str, key: Key, *, why: str) -> None:
    with closing(Publisher(url, app="tls", keys=[key], confirm_timeout_s=1)) as publisher:
        publisher.publish("mail", b"1", expires_s=60)
        wait(lambda: "not been reached yet" not in publisher.trouble, lambda: publisher.trouble)
        assert why in publisher.trouble
        assert not publisher.available


def test_rabbitmq_with_tls(node: tuple[RabbitMQ, int], certificates: Certificates, message_key: Key) -> None:
    crosses(f"amqps://guest:guest@127.0.0.1:{node[1]}//?cafile={certificates.ca}", message_key, app="tls")


def test_a_rabbitmq_that_no_known_authority_vouches_for_is_given_nothing(
    node: tuple[RabbitMQ, int], message_key: Key
) -> None:
    never_crosses(f"amqps://guest:guest@127.0.0.1:{node[1]}//", message_key, why="certificate verify failed")


def test_a_rabbitmq_with_another_hosts_certificate_is_given_nothing(
    node: tuple[RabbitMQ, int], certificates: Certificates, message_key: Key
) -> None:
    url = f"amqps://guest:guest@localhost:{node[1]}//?cafile={certificates.ca}"  # it vouches for 127.0.0.1 alone

    never_crosses(url, message_key, why="certificate verify failed")


@pytest.fixture
def tls_redis(certificates: Certificates) -> Iterator[Callable[[str], str]]:
    """URLs of a Redis that speaks TLS, as one host or another."""
    need_redis()
    folder, ports = certificates.folder, {"own": free_port(), "other": free_port()}

    def options(who: str) -> list[str]:
        return [
            "--tls-port", str(ports[who]), "--tls-cert-file", f"{folder}/{who}.pem", "--tls-key-file",
            f"{folder}/{who}.key", "--tls-ca-cert-file", f"{folder}/ca.pem", "--tls-auth-clients", "no",
        ]  # fmt: skip

    with redis_server(*options("own")), redis_server(*options("other")):
        yield lambda who: f"rediss://127.0.0.1:{ports[who]}/0"


def test_redis_with_tls(tls_redis: Callable[[str], str], certificates: Certificates, message_key: Key) -> None:
    crosses(f"{tls_redis('own')}?cafile={certificates.ca}", message_key, app="tls")
    never_crosses(f"{tls_redis('other')}?cafile={certificates.ca}", message_key, why="certificate verify failed")
    never_crosses(tls_redis("own"), message_key, why="certificate verify failed")


def test_quorum_queues_that_somebody_has_made_are_taken_as_they_are(
    node: tuple[RabbitMQ, int], message_key: Key
) -> None:
    connect: type[Connection] = Connection
    with connect(node[0].url) as connection:
        connection.channel().queue_declare(
            queue_name("quorum", "mail"), durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )

    crosses(node[0].url, message_key, app="quorum")

    assert "quorum" in control(node[0].folder, "list_queues", "name", "type", "--quiet")


def test_the_permissions_of_the_documentation_suffice(node: tuple[RabbitMQ, int], message_key: Key) -> None:
    control(node[0].folder, "add_user", "flow", "secret")
    may = r"^flowledger.*$", r"^(flowledger.*|amq\.default)$", r"^flowledger.*$"
    control(node[0].folder, "set_permissions", "-p", "/", "flow", *may)

    crosses(f"amqp://flow:secret@127.0.0.1:{node[0].port}//", message_key, app="few")


def test_a_queue_that_is_refused_is_in_no_others_way(node: tuple[RabbitMQ, int], message_key: Key) -> None:
    # Given a login that may use one queue, and not another
    control(node[0].folder, "add_user", "half", "secret")
    may = r"^flowledger(-dead)?\.half(\.mail)?$", r"^(flowledger.*|amq\.default)$", r"^flowledger.*$"
    control(node[0].folder, "set_permissions", "-p", "/", "half", *may)
    url = f"amqp://half:secret@127.0.0.1:{node[0].port}//"
    with closing(Publisher(url, app="half", keys=[message_key])) as publisher:
        # When it is to send to both, first to the one that it must not use
        for n in range(1_200):
            publisher.publish("secret", b"%d" % n, expires_s=600)
        publisher.publish("mail", b"1", expires_s=600)

        # Then what is for the other is sent, and what was refused is kept
        wait(lambda: publisher.unconfirmed == 1_200, lambda: f"{publisher.unconfirmed} {publisher.trouble}")
        assert publisher.available
        crosses(url, message_key, app="half")

        # And sent, once it may be
        control(node[0].folder, "set_permissions", "-p", "/", "half", ".*", ".*", ".*")
        wait(lambda: publisher.unconfirmed == 0, lambda: publisher.trouble)


def test_a_rabbitmq_without_memory_stops_publishers_and_nothing_is_lost(
    node: tuple[RabbitMQ, int], message_key: Key
) -> None:
    # Given a broker whose memory is full
    running = node[0]
    with (
        closing(Publisher(running.url, app="full", keys=[message_key], confirm_timeout_s=1)) as publisher,
        closing(Consumer(running.url, app="full", queues=["mail"], keys=[message_key], prefetch=100)) as consumer,
    ):
        publisher.publish("mail", b"0", expires_s=600)
        wait(lambda: publisher.available and publisher.unconfirmed == 0, lambda: publisher.trouble)
        control(running.folder, "set_vm_memory_high_watermark", "0.00001")

        # When requests are sent
        for n in range(1, 100):
            publisher.publish("mail", b"%d" % n, expires_s=600)

        # Then it is said why they wait; and once there is memory, all come
        wait(lambda: "has stopped its publishers" in publisher.trouble, lambda: publisher.trouble)
        assert not publisher.available
        control(running.folder, "set_vm_memory_high_watermark", "absolute", "1GB")
        taken: set[bytes] = set()
        deadline = monotonic() + WAIT_S
        while len(taken) < 100:
            assert monotonic() < deadline, f"{len(taken)}: {publisher.trouble}"
            for delivery in consumer.receive(1, 100):
                taken.add(delivery.content)
                delivery.ack()
        consumer.settle()


@pytest.mark.parametrize(
    "odd",
    [
        b"no json", b"[" * 100_000, b"null", b"{}", b'{"body":1,"properties":{}}',
        b'{"body":"?","headers":null,"properties":{"delivery_tag":"x","delivery_info":{},"body_encoding":"base64"}}',
        b'{"body":"eA==","headers":[],"properties":{"delivery_tag":[],"delivery_info":7,"body_encoding":"rot13"}}',
    ],
    ids=range(7),
)  # fmt: skip
def test_odd_bytes_in_redis_end_no_consumer(redis_url: str, message_key: Key, odd: bytes) -> None:
    # Given bytes in a queue that are nothing that kombu writes
    from redis import Redis  # noqa: PLC0415 - where it is not installed, the fixture has skipped this

    url = redis_url
    with (
        closing(Redis.from_url(url)) as client,
        closing(Consumer(url, app="shop", queues=["mail"], keys=[message_key], prefetch=10)) as consumer,
        closing(Publisher(url, app="shop", keys=[message_key])) as publisher,
    ):
        client.lpush(queue_name("shop", "mail"), odd)

        # When a request follows
        publisher.publish("mail", b"1", expires_s=60)

        # Then that is taken
        deadline = monotonic() + WAIT_S
        while not (found := consumer.receive(1, 10)):
            assert monotonic() < deadline, consumer.trouble
        assert [each.content for each in found] == [b"1"]


def test_two_that_meet_a_queue_in_memory_for_the_first_time_share_it(
    memory_broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one who sends and one who receives, both of whom find at the same time that there is no such queue
    met = Barrier(2)

    class Slow(Queue[object]):
        def __init__(self) -> None:
            with suppress(BrokenBarrierError):
                met.wait(0.5)
            super().__init__()

    monkeypatch.setattr(memory, "Queue", Slow)
    sender, receiver = (Link(locate(memory_broker_url), limit_s=5) for _ in range(2))
    found: list[Incoming] = []

    def receive() -> None:
        receiver.consume(["mail"], lambda _, message: found.append(message), prefetch=1)

    # When both go on
    other = Thread(target=receive)
    other.start()
    sender.send([Outgoing("mail", b"1", "text/plain")])
    other.join()
    # Then what was sent is there
    assert receiver.drain(5)
    assert [message.body for message in found] == [b"1"]
    for link in (receiver, sender):
        link.close()
