"""Payloads that run code when they are read: none is, all are put aside by their type before any decoding (S1)."""

from __future__ import annotations

import itertools
import pickle  # noqa: TID251 - to make what must not be read
import zlib
from contextlib import closing
from time import monotonic, time_ns

import kombu.compression
import kombu.serialization
import pytest

from flowledger.adapters.broker.consumer import Consumer, Delivery
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.messages import packed
from flowledger.adapters.keys import Key
from tests.strangers import stranger

PAYLOADS = 200
WAIT_S = 60.0

executed: list[str] = []


def note(what: str) -> None:
    executed.append(what)


class Harmful:
    """Says that it was executed when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return note, ("pickle",)


HARMFUL = {
    "application/x-python-serialize": pickle.dumps(Harmful()),
    "application/x-python-pickle": pickle.dumps(Harmful(), protocol=0),
    "application/data": pickle.dumps(Harmful(), protocol=2),
    "application/x-yaml": b"!!python/object/apply:os.system ['touch /tmp/flowledger-s1-executed']",
    "text/yaml": b"!!python/object/new:os.system [exit 1]",
    "application/x-msgpack": b"\x81\xa1a\xc7\x05\x01hello",
    "application/x-python-marshal": b"c\x00\x00\x00\x00",
    "text/plain": b"__import__('os').system('true')",
}
TYPES = [*HARMFUL, "pickle", "application/json; charset=pickle", "", None]
ENCODINGS = ["binary", "utf-8", None]
COMPRESSION = [{}, {"compression": "application/x-gzip"}, {"compression": "application/x-bz2"}]


def test_rel_s1_what_is_not_json_is_never_decoded(
    broker_url: str, message_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two hundred payloads under every content type that something decodes, also within an honest message's body
    decoded: list[str] = []
    monkeypatch.setattr(kombu.serialization.registry, "loads", lambda *_, **__: decoded.append("loads"))
    monkeypatch.setattr("kombu.message.loads", lambda *_, **__: decoded.append("loads"))
    monkeypatch.setattr("kombu.message.decompress", lambda *_: decoded.append("decompress"))
    monkeypatch.setattr(pickle, "loads", lambda *_, **__: decoded.append("pickle"))
    good = packed(b"1", key=message_key, app="shop", queue="mail", expires_us=time_ns() // 1000 + 10**9)
    bodies = [*HARMFUL.values(), good, zlib.compress(good)]
    kinds = itertools.cycle(itertools.product(TYPES, ENCODINGS, COMPRESSION))
    with stranger(broker_url) as sender:
        for number, (content_type, encoding, headers) in zip(range(PAYLOADS), kinds, strict=False):
            sender.send(
                bodies[number % len(bodies)], content_type=content_type, content_encoding=encoding,
                headers=dict(headers),
            )  # fmt: skip
        sender.send(good)

        # When a worker takes them
        with closing(Consumer(broker_url, app="shop", queues=["mail"], keys=[message_key], prefetch=50)) as consumer:
            found: list[Delivery] = []
            deadline = monotonic() + WAIT_S
            while not found:
                assert monotonic() < deadline, consumer.trouble
                found = consumer.receive(1, 10)
            found[0].ack()
            consumer.settle()
            assert not consumer.trouble

    # Then nothing was executed or decoded, and all of it was put aside for its type
    assert not executed
    assert not decoded
    assert [each.content for each in found] == [b"1"]
    reasons = [letter.reason for letter in DeadLetters(broker_url, "shop").ls()]
    assert reasons == ["its content type is not application/json"] * PAYLOADS


def test_rel_s1_the_payloads_are_harmful() -> None:
    pickle.loads(HARMFUL["application/x-python-serialize"])

    assert executed == ["pickle"]
    executed.clear()
