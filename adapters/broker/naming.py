"""What queues are called at the broker."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

#: The longest name of a queue in AMQP, in bytes.
LONGEST_BYTES: Final = 255
_KEPT_BYTES: Final = 180


def queue_name(app: str, queue: str) -> str:
    """The queue of an app's tasks: ``flowledger.APP.QUEUE``. No two apps and queues share one, whatever dots they
    have; what is too long for AMQP is cut, and told apart by a digest."""
    return _fitting(f"flowledger.{_quoted(app)}.{queue}")


def dead_queue_name(app: str) -> str:
    """Where the messages of an app go that nobody could read: ``flowledger-dead.APP``."""
    return _fitting(f"flowledger-dead.{_quoted(app)}")


def _quoted(app: str) -> str:
    return re.sub(r"[%.]", lambda found: f"%{ord(found[0]):02x}", app)


def _fitting(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST_BYTES:
        return name
    return f"{encoded[:_KEPT_BYTES].decode(errors='ignore')}~{sha256(encoded).hexdigest()}"
