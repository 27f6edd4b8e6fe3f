"""One connection to the broker, of any kind: the only place that knows what kombu's transports are like.

kombu never reads a message for us: it would decompress and decode what a header says. Bodies come as bytes. A link is
used by one thread, never blocks longer than its time limit, and is thrown away when anything about it breaks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from kombu.connection import Connection
from kombu.transport import virtual

from flowledger.events.errors import NotSupported

from .frames import Unread, frame_handler
from .location import Location

#: How often the two ends of an idle connection hear of each other, in seconds (AMQP).
HEARTBEAT_S: Final = 5
_ANY_BYTES: Final = 1 << 31
#: How often an idle connection in memory is looked at, in seconds.
_POLL_S: Final = 0.01
#: Letters kept aside at most, by RabbitMQ; the oldest go.
MOST_DEAD: Final = 200_000

#: kombu's queues in memory are not made atomically: of two threads that both find none, the second would replace the
#: first's, with what had been sent to it by then.
_making_in_memory: Final = Lock()


class LinkBroken(Exception):
    """The link is of no use any more. Its text says why, without a password."""


@dataclass(eq=False)
class Outgoing:
    """A message on its way to a queue. ``ttl_s``: how long the broker may keep it, where it can tell."""

    place: str
    body: bytes
    content_type: str
    headers: dict[str, Any] = field(default_factory=dict[str, Any])
    ttl_s: float | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Incoming:
    """A message as it came, of which nothing has been read. Of a body longer than a link keeps, the beginning.

    ``is_odd``: its headers could not be read.
    """

    tag: Any
    body: bytes
    length_bytes: int
    content_type: object
    content_encoding: object
    headers: dict[str, Any]
    is_odd: bool = False


class Link:
    """Open, or an error. ``limit_s`` bounds every wait for the broker; of bodies ``keep_bytes`` are kept.

    Raises:
        LinkBroken: the broker cannot be reached, or does not let us in.
    """

    def __init__(self, location: Location, *, limit_s: float, keep_bytes: int = _ANY_BYTES) -> None:
        self._location = location
        self._limit_s = limit_s
        self._known: set[str] = set()
        self._unconfirmed: dict[int, Outgoing] = {}
        self._returned: set[int] = set()
        self._published = 0
        self._consumes = False
        self.why_blocked = ""
        self.refusal = ""
        self._transport: Any = _transport(location, limit_s, keep_bytes, self._blocked)
        self._connection: Any = None
        with self._guarded("cannot be reached"):
            self._connection = self._transport.establish_connection()
            self._channel = self._new_channel()
            if location.kind == "amqp":
                self._channel.confirm_select()
                self._channel.events["basic_ack"].add(self._acked)
                self._channel.events["basic_nack"].add(self._nacked)
                self._channel.events["basic_return"].add(self._came_back)

    # -- sending

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Send, and wait until the broker has answered: each that it has taken is ``confirmed``, whatever is raised.

        Redis and memory confirm by answering, RabbitMQ when a message is on disk. What is not confirmed afterwards was
        refused: `refusal` says why.

        Raises:
            LinkBroken
        """
        with self._guarded("did not take what was sent"):
            for each in batch:
                if self.declare(each.place):
                    self._publish(each)
            deadline = time.monotonic() + self._limit_s
            while self._unconfirmed:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise LinkBroken(self.why_blocked or f"the broker did not confirm within {self._limit_s:g} s")
                self.drain(min(left_s, 1.0))

    def _publish(self, each: Outgoing) -> None:
        self._published += 1
        properties: dict[str, Any] = {"delivery_mode": 2}
        if self._location.kind == "amqp":
            properties["message_id"] = str(self._published)
            if each.ttl_s is not None:
                properties["expiration"] = str(max(1, int(each.ttl_s * 1000)))
        message = self._channel.prepare_message(
            each.body, content_type=each.content_type, content_encoding="utf-8", headers=each.headers,
            properties=properties,
        )  # fmt: skip
        if self._location.kind != "amqp":
            self._channel.basic_publish(message, exchange="", routing_key=each.place)
            each.confirmed = True
            return
        self._unconfirmed[self._published] = each
        # Mandatory: what no queue takes comes back, and is not confirmed into the void.
        self._channel.basic_publish(message, exchange="", routing_key=each.place, mandatory=True)

    def _acked(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            outgoing = self._unconfirmed.pop(one)
            if one in self._returned:
                self._returned.discard(one)
            else:
                outgoing.confirmed = True

    def _nacked(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            self.refusal = f"the queue {self._unconfirmed.pop(one).place} takes no more"

    def _settled(self, tag: int, multiple: bool) -> list[int]:
        if multiple:
            return [one for one in self._unconfirmed if one <= tag]
        return [tag] if tag in self._unconfirmed else []

    def _came_back(self, _error: object, _exchange: str, place: str, message: Any) -> None:
        self._known.discard(place)
        self.refusal = f"the queue {place} was gone"
        with suppress(ValueError):
            self._returned.add(int(message.properties.get("message_id", "")))

    # -- receiving

    def declare(self, place: str) -> bool:
        """See that a durable queue of this name is there. One that somebody made, of whatever kind, is taken as it is.
        False: the broker refuses it, and `refusal` says why.

        Raises:
            LinkBroken
        """
        if place not in self._known:
            with self._guarded("does not give the queue"):
                if self._location.kind != "amqp":
                    with _making_in_memory:
                        self._channel.queue_declare(place, durable=True)
                elif not self._declared(place, passive=True) and not self._declared(place, passive=False):
                    return False
            self._known.add(place)
        return True

    def _declared(self, place: str, *, passive: bool) -> bool:
        """On a channel of its own: the broker closes that where it refuses."""
        arguments = {"x-max-length": MOST_DEAD} if place.startswith("flowledger-dead.") else None
        channel = self._new_channel()
        try:
            channel.queue_declare(place, passive=passive, durable=True, auto_delete=False, arguments=arguments)
        except self._transport.channel_errors as error:
            self.refusal = f"the broker at {self._location} refuses the queue {place}: {_said(error)}"
            return False
        channel.close()
        return True

    def consume(self, places: Iterable[str], take: Callable[[str, Incoming], None], *, prefetch: int) -> None:
        """Have messages of these queues handed to ``take`` while the link drains; ``prefetch`` of them unsettled.

        Raises:
            LinkBroken
        """
        with self._guarded("does not let us consume"):
            self._channel.basic_qos(0, prefetch, False)
            self._consumes = True
            for number, place in enumerate(places):
                if not self.declare(place):
                    raise LinkBroken(self.refusal)
                self._channel.basic_consume(
                    queue=place, no_ack=False, consumer_tag=f"flowledger-{number}", callback=_taking(place, take)
                )

    def get(self, place: str) -> Incoming | None:
        """The next message of a queue, unsettled; None: there is none.

        Raises:
            LinkBroken
        """
        with self._guarded("does not give a message"):
            message = self._channel.basic_get(place, no_ack=False)
            return None if message is None else _incoming(message)

    def settle(self, tags: Sequence[Any]) -> None:
        """These messages have been dealt with.

        Raises:
            LinkBroken
        """
        with self._guarded("does not take what is acknowledged"):
            for tag in tags:
                self._channel.basic_ack(tag)

    def settle_up_to(self, tag: Any) -> None:
        """All messages up to this one have been dealt with; only where `counts_tags`.

        Raises:
            LinkBroken
        """
        with self._guarded("does not take what is acknowledged"):
            self._channel.basic_ack(tag, multiple=True)

    @property
    def counts_tags(self) -> bool:
        """Whether the messages of this link are numbered."""
        return self._location.kind == "amqp"

    def put_back(self, tag: Any) -> None:
        """This message goes back to its queue.

        Raises:
            LinkBroken
        """
        with self._guarded("does not take back a message"):
            self._channel.basic_reject(tag, requeue=True)

    # -- living

    def drain(self, timeout_s: float) -> bool:
        """Take in one thing that the broker says; False: it has said nothing for so long.

        Raises:
            LinkBroken
        """
        with self._guarded("is gone"):
            try:
                self._transport.drain_events(self._connection, timeout=timeout_s)
            except TimeoutError:
                return False
            return True

    def live(self) -> None:
        """Take in what the broker has said, tell it that we are there, and see whether it is. About once a second.

        Raises:
            LinkBroken: it is gone, or nothing was heard of it for two heartbeats.
        """
        if self._location.kind == "amqp":
            while self.drain(0):
                pass
        with self._guarded("is silent"):
            if self._location.kind == "amqp":
                self._transport.heartbeat_check(self._connection)
            elif self._location.kind == "redis" and not self._consumes:  # its connection waits for a message else
                self._channel.client.ping()

    def close(self) -> None:
        """Say good-bye, if somebody listens."""
        with suppress(Exception):
            self._transport.close_connection(self._connection)
        self.drop()

    def drop(self) -> None:
        """Let go of a link that is broken, without a word."""
        connection, self._connection = self._connection, None
        with suppress(Exception):
            if self._location.kind == "amqp":
                connection.collect()
            else:
                self._transport.close_connection(connection)

    # -- the world

    def _new_channel(self) -> Any:
        channel = self._transport.create_channel(self._connection)
        if self._location.kind != "amqp":
            channel.Message = _Virtual
        return channel

    def _blocked(self, why: str) -> None:
        self.why_blocked = f"the broker has stopped its publishers: {why}" if why else ""

    def _guarded(self, what: str) -> _Guard:
        return _Guard(self, f"the broker at {self._location} {what}")


class _Guard:
    """Turns whatever a transport may raise into `LinkBroken`: libraries of brokers have no common errors, and raise
    such as AttributeError when a connection breaks under them."""

    def __init__(self, link: Link, what: str) -> None:
        self._link = link
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LinkBroken):
            self._link.drop()
        elif isinstance(error, Exception):
            self._link.drop()
            raise LinkBroken(f"{self._what}: {_said(error)}") from error


def _said(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _taking(place: str, take: Callable[[str, Incoming], None]) -> Callable[[Any], None]:
    def came(message: Any) -> None:
        take(place, _incoming(message))

    return came


class _Virtual(virtual.Message):
    """A message of a transport that has none of its own, without kombu's wish to decompress it."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **more: Any) -> None:
        said: dict[str, Any] = payload.get("headers") or {}
        headers = {name: value for name, value in said.items() if name != "compression"}
        made: Any = super()
        made.__init__({**payload, "headers": headers}, channel=channel, **more)


def _incoming(message: Any) -> Incoming:
    """Of AMQP's own message, or of a virtual transport's."""
    tag: Any = message.delivery_tag
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    if isinstance(message, Unread):
        found = message.properties
        content_type, encoding = found.get("content_type"), found.get("content_encoding")
        headers, length, is_odd = found.get("application_headers"), message.length_bytes, message.is_odd
    else:
        content_type, encoding, headers = message.content_type, message.content_encoding, message.headers
        length, is_odd = len(body), False
    return Incoming(tag, body, length, content_type, encoding, headers or {}, is_odd)


def _transport(location: Location, limit_s: float, keep_bytes: int, blocked: Callable[[str], None]) -> Any:
    options: dict[str, Any] = {}
    match location.kind:
        case "amqp":
            options = {
                "read_timeout": limit_s, "write_timeout": limit_s, "on_blocked": blocked,
                "on_unblocked": lambda: blocked(""), "client_properties": {"product": "flowledger"},
                "frame_handler": frame_handler(keep_bytes),
            }  # fmt: skip
        case "redis":
            options = {
                "socket_timeout": limit_s, "socket_connect_timeout": limit_s, "socket_keepalive": True,
                "health_check_interval": HEARTBEAT_S,
            }  # fmt: skip
        case "memory":
            options = {"polling_interval": _POLL_S}
    connect: Any = Connection
    connection = connect(
        transport=_kombu_name(location), hostname=location.host, port=location.port, userid=location.user,
        password=location.password, virtual_host=location.place, connect_timeout=limit_s,
        heartbeat=HEARTBEAT_S, ssl=_tls(location), transport_options=options,
    )  # fmt: skip
    try:
        return connection.transport
    except ImportError as error:
        raise NotSupported(
            "a broker in Redis needs the package `redis`, which is not installed",
            hint="pip install 'flowledger[redis]'",
        ) from error


def _kombu_name(location: Location) -> str:
    return {"amqp": "pyamqp", "redis": "rediss" if location.tls else "redis", "memory": "memory"}[location.kind]


def _tls(location: Location) -> dict[str, Any] | bool:
    """What makes sure that the broker is who it should be: by default TLS in kombu does not ask."""
    if not location.tls:
        return False
    if location.kind == "redis":
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": location.cafile}
    context = {"cafile": location.cafile, "check_hostname": True}
    return {"context": context, "server_hostname": location.host}
