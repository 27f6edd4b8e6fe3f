"""What transactional tasks ask of the process that takes up a run (rule C8)."""

from __future__ import annotations

from collections.abc import Mapping

from flowledger.core.plan import Plan
from flowledger.events.errors import NotSupported
from flowledger.events.facts import Phase
from flowledger.events.store import Store
from flowledger.events.transactions import OutcomeKey

from .loading import Loaded


def check_store(store: Store, plan: Plan) -> None:
    """Raise `NotSupported` for a plan with transactional tasks on a store that is no database."""
    if store.transactions:
        return
    for node in plan.nodes:
        if node.task is not None and node.task.execute.connection is not None:
            raise NotSupported(
                f"{node.path} is transactional, and {store.describe()} is no database it could write to",
                hint="use SQLite or Postgres: the log and what the task writes must be in one database",
            )


def settled(store: Store, loaded: Loaded) -> Mapping[int, bytes]:
    """The outcomes that transactions of the process that is gone have left, by atom.

    Of all others that its log says are running, none will ever be committed, even if that process lives on.
    """
    state, nodes = loaded.state, loaded.state.plan.nodes
    found: dict[int, bytes] = {}
    for number in sorted(state.running):
        phase: Phase = "revert" if state.states[number] == "REVERTING" else "execute"
        task = nodes[number].task
        call = None if task is None else task.revert if phase == "revert" else task.execute
        if call is None or call.connection is None:
            continue
        key = OutcomeKey(loaded.run_id, nodes[number].path, state.tries[number], phase)
        content = store.settle(key, version=state.version)
        if content is not None:
            found[number] = content
    return found
