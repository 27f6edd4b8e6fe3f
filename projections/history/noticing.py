"""What somebody may want to be told of: the notices view, in the order of the log (rule H1).

A notice says that something happened. Whether anybody is told, and whether that worked, is kept elsewhere: so a rebuild
tells nobody anything twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.projections.rows import Rows
from flowledger.projections.tables import Row

from .tables import COUNTERS, NOTICES


def _ended(run: Row, event: facts.Event) -> str | None:
    """A run that failed; one that a person had undone or cancelled did what it was told."""
    if isinstance(event, facts.RunFailed):
        return "needs-human" if event.reason == "revert_failed" else "failed"
    return None if run["asked"] else "failed"


#: Events that may be one, each with what kind it is.
NOTICED: Final[dict[type[facts.Event], Callable[[Row, Any], str | None]]] = {
    facts.RunFailed: _ended,
    facts.RunReverted: _ended,
    facts.TaskHeld: lambda _, __: "needs-human",
}


def notice(rows: Rows, run: Row, envelope: Envelope) -> None:
    """Note it, if somebody may want to know."""
    kind = NOTICED[type(envelope.event)](run, envelope.event)
    if kind is None:
        return
    counter = rows.at(COUNTERS, "notices")
    counter["last"] += 1
    row = rows.new(NOTICES, counter["last"])
    row["run_id"], row["version"], row["time_us"], row["kind"] = (
        envelope.run_id, envelope.version, envelope.time_us, kind,
    )  # fmt: skip
    held = getattr(envelope.event, "reason", "") if isinstance(envelope.event, facts.TaskHeld) else ""
    row["path"] = envelope.path or run["failed_at"] or ""
    row["text"] = held or run["error"] or ""
