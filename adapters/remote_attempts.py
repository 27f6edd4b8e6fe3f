"""How it stands with a run's tasks that workers make, as the claims say just now."""

from __future__ import annotations

from flowledger.events.store import Store
from flowledger.projections.remote import Asked, asked, under_way
from flowledger.projections.run_view import RunView


def asked_of_workers(store: Store, view: RunView) -> dict[str, Asked]:
    """By path; ``view`` is of the run as it stands. Nothing is read where no worker was asked."""
    if not under_way(view):
        return {}
    return asked(view, store.claims.of([view.run_id]), store.claims.workers())
