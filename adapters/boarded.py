"""Who takes runs from the job board (rule B3)."""

from __future__ import annotations

from flowledger.events.store import Stream

from .runtime import Runtime


def is_served(runtime: Runtime, stream: Stream) -> bool:
    """Whether a live conductor takes such a run."""
    takeover_s = runtime.settings.lease_takeover_s
    return stream.queue is not None and any(
        conductor.app == stream.app
        and stream.factory in conductor.factories
        and stream.queue in conductor.queues
        and conductor.seen_s <= takeover_s
        and not conductor.draining
        for conductor in runtime.store.board.conductors()
    )
