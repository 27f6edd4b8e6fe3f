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

_CLASSES: dict[str, type[Event]] = {cls.__name__: cls for cls in EVENTS}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(cls) for name, cls in _CLASSES.items()}


def decode(type_: str, schema_version: int, payload: bytes) -> Event:
    """The event a row holds, lifted to today's shape.

    Raises:
        SchemaTooNew: the type or its version is not known to this release.
        IntegrityError: the payload is not what its type says.
    """
    cls = _CLASSES.get(type_)
    if cls is None or schema_version > cls.schema_version:
        raise SchemaTooNew(f"event {type_} version {schema_version} was written by a newer flowledger")
    try:
        if schema_version < cls.schema_version:
            return _lifted(cls, schema_version, payload)
        event: Event = _DECODERS[type_].decode(payload)
        return event
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"event {type_}: the payload does not fit: {error}") from error


def _lifted(cls: type[Event], schema_version: int, payload: bytes) -> Event:
    value = msgspec.json.decode(payload, type=dict[str, Any])
    for version in range(schema_version, cls.schema_version):
        value = UPCASTERS[cls.__name__, version](value)
    # Through JSON once more: only a decoder knows how to keep a field of raw JSON.
    event: Event = _DECODERS[cls.__name__].decode(_ENCODER.encode(value))
    return event


def opened(run_id: str, events: Iterable[StoredEvent]) -> Iterator[Envelope]:
    """Rows to envelopes, one at a time."""
    for e in events:
        event = decode(e.type, e.schema_version, e.payload)
        yield Envelope(run_id, e.version, e.path, e.time_us, e.actor, event, e.hash)
