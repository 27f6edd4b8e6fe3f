"""What engines have asked for and no worker has begun, as it stands with their owner rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from flowledger.events.claims import Backlog, Unclaimed

_UNCLAIMED = msgspec.json.Decoder(list[Unclaimed])


def packed(unclaimed: Sequence[Unclaimed]) -> str | None:
    """As the text of a column; None: nothing."""
    return msgspec.json.encode(list(unclaimed)).decode() if unclaimed else None


def backlogs(rows: Iterable[tuple[str, str]], now_us: int) -> list[Backlog]:
    """Added up by app and queue. ``rows``: the app of an owner, and what it said."""
    waiting: dict[tuple[str, str], int] = {}
    since_us: dict[tuple[str, str], int] = {}
    for app, said in rows:
        for each in _UNCLAIMED.decode(said):
            key = app, each.queue
            waiting[key] = waiting.get(key, 0) + each.waiting
            since_us[key] = min(since_us.get(key, now_us), each.since_us)
    return [Backlog(*key, waiting[key], (now_us - since_us[key]) / 1e6) for key in sorted(waiting)]
