"""Somebody with access to the broker who is not one of us: sends whatever they like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from struct import pack
from typing import Any

from kombu.connection import Connection

from flowledger.adapters.broker.location import locate
from flowledger.adapters.broker.naming import queue_name


class Stranger:
    """Sends to the queues of the app ``shop``."""

    def __init__(self, url: str) -> None:
        connect: Any = Connection
        # With the transport's own class: on an AMQP channel every message is confirmed, so that none is missing.
        self._connection = connect(url, transport_options={"confirm_publish": True} if "amqp" in url else {})
        self._channel = self._connection.channel()

    def send(
        self,
        body: bytes,
        *,
        queue: str = "mail",
        content_type: object = "application/json",
        content_encoding: object = "utf-8",
        headers: dict[str, Any] | None = None,
        raw_properties: bytes | None = None,
        **properties: Any,
    ) -> None:
        """Send one message. ``raw_properties``: the bytes of AMQP's list of properties, whatever they are."""
        place = queue_name("shop", queue)
        self._channel.queue_declare(place, durable=True, auto_delete=False)
        message = self._channel.prepare_message(
            body, content_type=content_type, content_encoding=content_encoding, headers=headers or {},
            properties={"delivery_mode": 2, **properties},
        )  # fmt: skip
        if raw_properties is not None:
            message._serialize_properties = lambda: raw_properties
        self._channel.basic_publish(message, exchange="", routing_key=place)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def stranger(url: str) -> Iterator[Stranger]:
    """One who can reach the broker at this URL."""
    locate(url)
    made = Stranger(url)
    try:
        yield made
    finally:
        made.close()


_CONTENT_TYPE = 1 << 15
_HEADERS = 1 << 13


def odd_properties() -> dict[str, bytes]:
    """Properties that RabbitMQ takes and py-amqp raises for: each another way."""
    value = b"V"
    for _ in range(20_000):
        value = b"A" + pack(">I", len(value)) + value
    return {
        "nested deeply": _with_header(b"\x01x" + value),
        "a time without a year": _with_header(b"\x01xT" + b"\xff" * 8),
        "a type that is no text": pack(">H", _CONTENT_TYPE) + b"\x02\xff\xfe",
    }


def _with_header(entry: bytes) -> bytes:
    content_type = b"application/json"
    head = pack(">HB", _CONTENT_TYPE | _HEADERS, len(content_type)) + content_type
    return head + pack(">I", len(entry)) + entry
