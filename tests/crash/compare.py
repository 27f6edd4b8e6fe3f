"""Two logs of the same flow, compared as rule D8 says (`flowledger.core.comparing`); logs that went through a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from flowledger.core.comparing import by_path, comparable
from flowledger.events.chain import verified
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope, StoredEvent
from tests.crash.job import Row

__all__ = ["by_path", "comparable", "envelopes"]


def envelopes(run_id: str, rows: Iterable[Row]) -> list[Envelope]:
    """The log as the engine reads it, its chain checked."""
    stored = [
        StoredEvent(
            r.version, r.type, r.schema_version, r.path, r.time_us, r.actor, r.payload.encode(), bytes.fromhex(r.hash)
        )
        for r in rows
    ]
    return list(opened(run_id, verified(run_id, stored)))
