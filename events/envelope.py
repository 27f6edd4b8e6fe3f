"""The envelope around a fact, and the row it becomes.

A store keeps `StoredEvent` rows and knows nothing of the vocabulary; everyone else reads `Envelope`s.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from .facts import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of a stream, as stored: the bytes the hash chain vouches for (rule A8). Not visited by the garbage
    collector, as `Envelope`."""

    version: int  # 1.. within the stream
    type: str
    schema_version: int
    path: str  # "" is the run itself
    time_us: int  # microseconds since the epoch, store time (rule F1)
    actor: str
    payload: bytes  # JSON, byte-exact
    hash: bytes  # 32 bytes


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A fact with where it stands: ``version`` in the stream of ``run_id``, atom ``path``, time, actor, hash.

    It can be in no cycle, and the garbage collector does not visit it: a long run has hundreds of thousands.
    """

    run_id: str
    version: int
    path: str
    time_us: int
    actor: str
    event: Event
    hash: bytes

    @property
    def type(self) -> str:
        """The event's name."""
        return type(self.event).__name__

    @property
    def at(self) -> datetime:
        """The time as an aware UTC datetime."""
        return _EPOCH + timedelta(microseconds=self.time_us)
