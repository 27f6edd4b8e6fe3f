"""What is kept of a message that was put aside: its bytes, unread, and why."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, NamedTuple

from flowledger.adapters.ids import new_ulid

from .links import Incoming, Outgoing
from .naming import dead_queue_name

#: Bytes that are kept of a message too long to be one.
BEGINNING_BYTES: Final = 65_536
_TEXT: Final = 500


class DeadLetter(NamedTuple):
    """A message that was put aside. ``length_bytes`` is the original's; ``body`` is shorter where it was cut."""

    id: str
    queue: str
    reason: str
    time_us: int
    content_type: str
    length_bytes: int
    body: bytes

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept."""
        return len(self.body) == self.length_bytes


def dead_letter(app: str, queue: str, reason: str, message: Incoming, *, now_us: int, keep_bytes: int) -> Outgoing:
    """The message on its way to the app's dead letters. Its body goes as bytes that nobody decodes; of one longer than
    ``keep_bytes`` the beginning."""
    headers = {
        "id": new_ulid(), "queue": queue, "reason": reason[:_TEXT], "time_us": now_us,
        "content_type": str(message.content_type or "")[:_TEXT], "length_bytes": message.length_bytes,
    }  # fmt: skip
    body = message.body if message.length_bytes <= keep_bytes else message.body[:BEGINNING_BYTES]
    return Outgoing(dead_queue_name(app), body, "application/octet-stream", headers)


def letter_of(message: Incoming) -> DeadLetter:
    """Of a message out of the queue of dead letters; one that somebody else has put there is named after its digest."""
    said = message.headers
    length = _number(said, "length_bytes")
    return DeadLetter(
        id=_text(said, "id") or sha256(message.body).hexdigest()[:26].upper(),
        queue=_text(said, "queue"),
        reason=_text(said, "reason") or "it was not put here by a worker",
        time_us=_number(said, "time_us") or 0,
        content_type=_text(said, "content_type"),
        length_bytes=message.length_bytes if length is None else length,
        body=message.body,
    )


def _text(said: dict[str, Any], name: str) -> str:
    found = said.get(name)
    return found if isinstance(found, str) else ""


def _number(said: dict[str, Any], name: str) -> int | None:
    found = said.get(name)
    return found if isinstance(found, int) else None
