"""Who did what, and why: the rows of the audit view. What the engine does of itself is in the log, not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.projections.rows import Rows
from flowledger.projections.tables import Row

from .tables import AUDIT


class Act(NamedTuple):
    """What somebody did, in a word; the reason given; what else is to be said."""

    what: str
    reason: str = ""
    note: str = ""


def _claimed(event: facts.RunClaimed) -> Act | None:
    """The first owner is who submitted the run; a later one took it over."""
    return Act("take over", note=f"owner {event.owner}, epoch {event.epoch}") if event.epoch > 1 else None


def _released(event: facts.RunReleased) -> Act:
    """The owner gave it up, or a person took it away."""
    if event.taken_from:
        return Act("take over", event.reason, f"from {event.taken_from}")
    return Act("release", event.reason)


def _said(event: facts.RequestAccepted) -> str:
    """What was asked for more closely."""
    if event.from_ is not None:
        return f"from {event.from_} on"
    return "keeping what stands" if event.keep else event.resolution or ""


#: Events that are somebody's doing, each with what it was.
AUDITED: Final[dict[type[facts.Event], Callable[[Any], Act | None]]] = {
    facts.RunSubmitted: lambda e: Act("submit", note=f"key {e.key}" if e.key else ""),
    facts.RunForked: lambda e: Act("fork", e.reason, f"of {e.source} at {e.version}{', adopted' if e.adopted else ''}"),
    facts.RunClaimed: _claimed,
    facts.RunReleased: _released,
    facts.PlanChanged: lambda e: Act("change plan", note=f"plan {e.fingerprint[:12]}"),
    facts.RunResumed: lambda _: Act("resume"),
    facts.RequestAccepted: lambda e: Act(e.kind, e.reason, _said(e)),
    facts.RunErased: lambda e: Act("erase", e.reason),
    facts.RequestRefused: lambda e: Act(e.kind, e.reason, f"refused: {e.why}"),
    facts.SignalReceived: lambda e: Act("signal", note=e.name),
}


def audit(rows: Rows, run: Row, envelope: Envelope) -> None:
    """Note what the event says somebody did, if it does."""
    act = AUDITED[type(envelope.event)](envelope.event)
    if act is None:
        return
    row = rows.new(AUDIT, envelope.run_id, envelope.version)
    row["time_us"], row["actor"], row["path"] = envelope.time_us, envelope.actor, envelope.path
    row["app"], row["flow"] = run["app"], run["flow"]
    row["what"], row["reason"], row["note"] = act
