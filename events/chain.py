"""The hash chain of a stream (rule A8): SHA-256 over length-prefixed fields as stored, each hash over the one before.

Position, transaction id and the row's own time stay outside. Nothing is re-encoded to be hashed. Lengths are prefixed
because a separator could be forged: ("a|b", "c") and ("a", "b|c") must not hash alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from struct import Struct

from .envelope import StoredEvent
from .errors import Tampered

GENESIS = bytes(32)

# version, schema version, time_us, then the byte lengths of run id, type, path, actor and payload
_FRAME = Struct(">QIqIIIIQ")


def link(
    previous: bytes, run_id: bytes, version: int, type_: str, schema_version: int, path: str, time_us: int,
    actor: str, payload: bytes,
) -> bytes:  # fmt: skip
    """The 32-byte hash of one event that follows ``previous`` (`GENESIS` for the first)."""
    type_b, path_b, actor_b = type_.encode(), path.encode(), actor.encode()
    frame = _FRAME.pack(
        version, schema_version, time_us, len(run_id), len(type_b), len(path_b), len(actor_b), len(payload)
    )
    return sha256(b"".join((previous, frame, run_id, type_b, path_b, actor_b, payload))).digest()


def verified(
    run_id: str, events: Iterable[StoredEvent], *, previous: bytes = GENESIS, after_version: int = 0
) -> Iterator[StoredEvent]:
    """Pass events on, checking each: versions without a gap, every hash as it must be.

    Raises:
        Tampered: at the first event that does not fit; everything before it is intact.
    """
    key = run_id.encode()
    expected = after_version
    for event in events:
        version = event.version
        expected += 1
        if version != expected:
            raise Tampered(
                f"run {run_id}: event {expected} is missing (found {version})", run_id=run_id, version=expected
            )
        previous = link(
            previous, key, version, event.type, event.schema_version, event.path, event.time_us, event.actor,
            event.payload,
        )  # fmt: skip
        if previous != event.hash:
            raise Tampered(
                f"run {run_id}: event {version} {event.type}: stored hash {event.hash.hex()[:12]} is not the computed "
                f"{previous.hex()[:12]}; events 1 to {version - 1} are intact",
                run_id=run_id,
                version=version,
            )
        yield event
