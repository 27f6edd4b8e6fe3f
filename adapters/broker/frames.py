"""Messages of RabbitMQ put together from frames, so that none of them can harm who receives it.

py-amqp reads all headers of a message at once, and raises for the whole connection where it cannot: a table nested too
deeply, a time in the year 10^12. The message would come again with the next connection, for ever. It also keeps bodies
of any length. Here headers that cannot be read are left out, and of a long body only the beginning is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Any, Final

from amqp import spec  # type: ignore[import-untyped]
from amqp.basic_message import Message  # type: ignore[import-untyped]
from amqp.exceptions import UnexpectedFrame  # type: ignore[import-untyped]

_WITH_CONTENT: Final = frozenset({spec.Basic.Return, spec.Basic.Deliver, spec.Basic.GetOk})
_METHOD: Final = 1
_HEADER: Final = 2
_BODY: Final = 3
_HEARTBEAT: Final = 8

#: Channel, what is said, its arguments, and the message that comes with it.
Say = Callable[[int, tuple[int, int], Any, Any], object]


class Unread(Message):  # type: ignore[misc]
    """A message as it comes. ``length_bytes`` of its body were sent; ``is_odd``: its headers could not be read."""

    def __init__(self, method: tuple[int, int], arguments: Any, keep_bytes: int) -> None:
        made: Any = super()
        made.__init__(frame_method=method, frame_args=arguments)
        self.length_bytes = 0
        self.is_odd = False
        self._keep_bytes = keep_bytes
        self._pieces: list[bytes] = []

    def _load_properties(self, class_id: int, buf: Any, offset: int) -> int:
        read: Any = super()
        try:
            return int(read._load_properties(class_id, buf, offset))  # noqa: SLF001 - it is its own
        except Exception:  # noqa: BLE001 - whatever a stranger has put there
            self.properties: dict[str, Any] = {}
            self.is_odd = True
            return offset

    def inbound_body(self, buf: Any) -> None:
        """One more piece of the body."""
        room = self._keep_bytes - self.length_bytes
        self.length_bytes += len(buf)
        if room > 0:
            self._pieces.append(bytes(buf[:room]))
        if self.length_bytes >= self.body_size:
            self.body = b"".join(self._pieces)
            self._pieces = []
            self.ready = True


def frame_handler(keep_bytes: int) -> Callable[[Any, Say], Callable[[tuple[int, int, Any]], bool]]:
    """What py-amqp calls `frame_handler`; keeps so much of a body."""

    def on(connection: Any, say: Say) -> Callable[[tuple[int, int, Any]], bool]:
        due: dict[int, int] = {}
        coming: dict[int, Any] = {}

        def came(channel: int) -> bool:
            message = coming.pop(channel)
            due.pop(channel, None)
            say(channel, message.frame_method, message.frame_args, message)
            return True

        def on_frame(frame: tuple[int, int, Any]) -> bool:
            kind, channel, buf = frame
            connection.bytes_recv += 1
            if kind == _HEARTBEAT:
                return False
            if kind != due.get(channel, _METHOD):
                raise UnexpectedFrame(f"a frame of type {kind} came where another was due")
            if kind == _METHOD:
                method: tuple[int, int] = unpack_from(">HH", buf, 0)
                if method in _WITH_CONTENT:
                    coming[channel], due[channel] = Unread(method, buf, keep_bytes), _HEADER
                    return False
                say(channel, method, buf, None)
                return True
            message = coming[channel]
            if kind == _HEADER:
                message.inbound_header(buf)
            else:
                message.inbound_body(buf)
            due[channel] = _BODY
            return message.ready and came(channel)

        return on_frame

    return on
