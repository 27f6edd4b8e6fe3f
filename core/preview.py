"""What a request would do, found by doing it to a copy of the state: the same fold, the same `decide`, no engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.facts import Event

from .actions import Action
from .decide import decide, ending
from .evolve import evolve, fold
from .plan import RUN, Plan
from .state import State


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Paths of atoms: what would run again, what keeps its result, what would be reverted, in that order."""

    runs_again: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    reverts: tuple[str, ...] = ()


def preview_revert(plan: Plan, envelopes: Iterable[Envelope]) -> Preview:
    """What the revert of a final run would undo, in an order it may take (G5).

    Raises:
        Nondeterminism: the run's status does not allow it.
    """
    state = fold(plan, envelopes)
    evolve(state, RUN, facts.RequestAccepted(request="", kind="revert"), state.time_us)
    reverts: list[str] = []
    while state.status == "RUNNING":
        action = decide(plan, state)[0]
        if action.kind == "Revert":
            reverts.append(plan.nodes[action.node].path)
            if state.states[action.node] == "REVERT_FAILED":  # it must be called again before it can be undone
                started = facts.RevertStarted(try_=state.tries[action.node], key="")
                evolve(state, action.node, started, state.time_us)
        evolve(state, action.node, _done(plan, state, action), state.time_us)
    return Preview(reverts=tuple(reverts))


def _done(plan: Plan, state: State, action: Action) -> Event:
    if action.kind == "RevertScope":
        return facts.ScopeReverting()
    return facts.TaskReverted(try_=state.tries[action.node]) if action.kind == "Revert" else ending(plan, state)
