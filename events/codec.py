"""Events to bytes and back. The type *column* picks the class; the payload never names one (nothing is imported)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from .envelope import Envelope, StoredEvent
from .errors import IntegrityError, SchemaTooNew
from .facts import EVENTS, Event
from .upcast import UPCASTERS

_ENCODER = msgspec.json.Encoder()

encode: Callable[[Event], bytes] = _ENCODER.encode
"""The event's payload: JSON, fields in declaration order, defaults left out. Same event, same bytes."""

#: By name: the class, its schema version, and how a payload of that version is read.
_KNOWN: dict[str, tuple[type[Event], int, Callable[[bytes], Event]]] = {
    cls.__name__: (cls, cls.schema_version, msgspec.json.Decoder(cls).decode) for cls in EVENTS
}


def decode(type_: str, schema_version: int, payload: bytes) -> Event:
    """The event a row holds, lifted to today's shape.

    Raises:
        SchemaTooNew: the type or its version is not known to this release.
        IntegrityError: the payload is not what its type says.
    """
    known = _KNOWN.get(type_)
    if known is None or schema_version > known[1]:
        raise SchemaTooNew(f"event {type_} version {schema_version} was written by a newer flowledger")
    cls, newest, read = known
    try:
        return read(payload if schema_version == newest else _lifted(cls, schema_version, payload))
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"event {type_}: the payload does not fit: {error}") from error


def _lifted(cls: type[Event], schema_version: int, payload: bytes) -> bytes:
    """The payload as today's class would have written it: only a decoder knows how to keep a field of raw JSON."""
    value = msgspec.json.decode(payload, type=dict[str, Any])
    for version in range(schema_version, cls.schema_version):
        value = UPCASTERS[cls.__name__, version](value)
    return _ENCODER.encode(value)


def opened(run_id: str, events: Iterable[StoredEvent]) -> Iterator[Envelope]:
    """Rows to envelopes, one at a time."""
    for e in events:
        event = decode(e.type, e.schema_version, e.payload)
        yield Envelope(run_id, e.version, e.path, e.time_us, e.actor, event, e.hash)
