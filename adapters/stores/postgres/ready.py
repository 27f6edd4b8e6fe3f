"""When a run is a job that a claim takes (B1), as conditions: for claims, and for the poll of who waits for one.

``{n}`` numbers the offer, where a statement asks for several.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from flowledger.events.board import Offer

from .wire import stored

#: Store time, in statements (F1).
NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

# Whoever can take a presence lock knows that nobody holds it (B2), unless its own session does; asked once per owner,
# not once per job.
ALIVE: Final = """alive AS MATERIALIZED (
  SELECT o.id FROM {s}.owners o
   WHERE {now} - o.last_seen_us <= %(takeover_s{n})s::float8 * 1000000
     AND (o.presence IS NULL OR o.presence = ANY (%(held{n})s::int8[])
          OR NOT pg_try_advisory_xact_lock_shared(o.presence)))"""
#: Whom a job is offered to, whatever it waits for.
OFFERED: Final = """
     AND s.app = %(app{n})s AND s.queue = ANY (%(queues{n})s::text[]) AND s.factory = ANY (%(factories{n})s::text[])
     AND s.run_id <> ALL (%(but{n})s::text[])
     AND NOT EXISTS (SELECT FROM {s}.job_notes n WHERE n.run_id = s.run_id AND n.remark = 'trashed')"""

# Four questions, each with an index of its own; the last is about requests to runs that are not ready (G1).
READY: Final = """s.queue IS NOT NULL AND s.owner IS NULL AND s.wake_at_us IS NULL
     AND s.status IN ('PENDING', 'RUNNING', 'SUSPENDING')"""
DUE: Final = "s.queue IS NOT NULL AND s.owner IS NULL AND s.wake_at_us IS NOT NULL AND s.wake_at_us <= {now}"
ORPHANED: Final = """s.queue IS NOT NULL AND s.owner IS NOT NULL AND s.owner <> %(me{n})s
     AND s.owner NOT IN (SELECT id FROM alive)"""
MAILED: Final = """s.queue IS NOT NULL AND s.owner IS NULL AND s.run_id IN (SELECT run_id FROM {s}.inbox)
     AND CASE WHEN s.wake_at_us IS NULL THEN s.status NOT IN ('PENDING', 'RUNNING', 'SUSPENDING')
              ELSE s.wake_at_us > {now} END"""

#: Whether a claim would find anything now, but for what others have locked. Who is dead is asked only where there are
#: jobs of others at all.
ANY: Final = " OR\n".join(
    f"EXISTS ({first}SELECT FROM {{s}}.streams s WHERE {which}{OFFERED})"
    for first, which in (("", READY), ("", DUE), ("", MAILED), (f"WITH {ALIVE}\n", ORPHANED))
)


def asked(
    owner_id: str, offer: Offer, but: Sequence[str], *, n: str = "", held: Iterable[int] = ()
) -> dict[str, object]:
    """The values of these conditions. ``held``: presence locks of the session that asks."""
    return {
        f"me{n}": stored(owner_id), f"app{n}": stored(offer.app), f"queues{n}": [stored(q) for q in offer.queues],
        f"factories{n}": [stored(f) for f in offer.factories], f"takeover_s{n}": offer.takeover_s,
        f"but{n}": [stored(run_id) for run_id in but], f"held{n}": list(held),
    }  # fmt: skip
