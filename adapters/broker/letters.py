"""What is kept of a message that was put aside: its bytes, unread, and why."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, NamedTuple

from ulid import ULID

from .links import Incoming, Outgoing
from .naming import dead_queue_name

#: Bytes kept of a message; of a longer one the beginning, its length and its digest.
KEPT_BYTES: Final = 1_048_576
_BEGINNING_BYTES: Final = 65_536
_TEXT: Final = 500


class DeadLetter(NamedTuple):
    """A message that was put aside. ``length_bytes`` is the original's; ``body`` is shorter where it was cut."""

    id: str
    queue: str
    reason: str
    time_us: int
    content_type: str
    length_bytes: int
    digest: str
    body: bytes

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept."""
        return len(self.body) == self.length_bytes


def dead_letter(app: str, queue: str, reason: str, message: Incoming, *, now_us: int) -> Outgoing:
    """The message on its way to the app's dead letters. Its body goes as bytes that nobody decodes."""
    length = len(message.body)
    headers = {
        "id": str(ULID()), "queue": queue, "reason": reason[:_TEXT], "time_us": now_us,
        "content_type": str(message.content_type or "")[:_TEXT], "length_bytes": length,
        "digest": sha256(message.body).hexdigest(),
    }  # fmt: skip
    body = message.body if length <= KEPT_BYTES else message.body[:_BEGINNING_BYTES]
    return Outgoing(dead_queue_name(app), body, "application/octet-stream", headers)


def letter_of(message: Incoming) -> DeadLetter:
    """Of a message out of the queue of dead letters; what somebody else has put there has no id but its digest's."""
    said = message.headers
    digest = sha256(message.body).hexdigest()
    return DeadLetter(
        id=_text(said, "id") or digest[:26].upper(),
        queue=_text(said, "queue"),
        reason=_text(said, "reason") or "it was not put here by a worker",
        time_us=_number(said, "time_us") or 0,
        content_type=_text(said, "content_type"),
        length_bytes=len(message.body) if (length := _number(said, "length_bytes")) is None else length,
        digest=_text(said, "digest") or digest,
        body=message.body,
    )


def _text(said: dict[str, Any], name: str) -> str:
    found = said.get(name)
    return found if isinstance(found, str) else ""


def _number(said: dict[str, Any], name: str) -> int | None:
    found = said.get(name)
    return found if isinstance(found, int) else None
