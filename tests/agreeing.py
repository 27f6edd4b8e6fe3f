"""Two folds of one log must say the same: the rows that views keep, and the run view that `show` draws."""

from __future__ import annotations

from collections.abc import Sequence

from flowledger.events.envelope import Envelope
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import ATTEMPTS, RUNS
from flowledger.projections.rows import Rows
from flowledger.projections.run_view import RunView, plan_named

LONG = 200


def views_agree(store: Store, log: Sequence[Envelope]) -> None:
    """At every version of this log; of a long one at the last."""
    rows, view = Rows(HISTORY.tables, store.plan), RunView()
    for envelope in log:
        HISTORY.fold(rows, envelope)
        view.apply(envelope)
        fingerprint = plan_named(envelope.event)
        document = None if fingerprint is None else store.plan(fingerprint)
        if document is not None:
            view.lay_out(envelope.event, document)
        if len(log) > LONG and envelope is not log[-1]:
            continue
        [run] = rows.under(RUNS)
        at = f"after event {envelope.version} {envelope.type} {envelope.path}"
        kept = (run["state"], run["direction"], run["version"], run["owner"], run["ended_us"], run["plan"])
        assert kept == (view.state, view.direction, view.version, view.owner, view.ended_us, view.fingerprint), at
        if view.started_us is None:  # what a fork has taken over is shown once its plan is known
            continue
        standing = {row["path"] for row in rows.under(ATTEMPTS) if row["stands"]}
        assert standing == {path for path, atom in view.atoms.items() if atom.state == "SUCCEEDED"}, at
        assert (run["done"], run["tasks"]) == (view.root.done, view.root.total), at
