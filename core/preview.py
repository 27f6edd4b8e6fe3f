"""What a request would do, found by doing it to a state nobody needs: the same fold, the same `decide`, no engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowledger.events import facts
from flowledger.events.facts import Event

from .actions import Action, Kind
from .decide import decide
from .evolve import evolve
from .plan import RUN
from .state import State


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Paths of atoms: what would run again, what keeps its result, what would be reverted, in that order."""

    runs_again: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    reverts: tuple[str, ...] = ()


def preview_rerun(state: State, from_: str | None) -> Preview:
    """What a rerun would undo first, in an order it may take; what may run again, in plan order; and what it keeps.

    ``state`` is used up: it is where that is tried.
    """
    evolve(state, RUN, facts.RequestAccepted(request="", kind="rerun", from_=from_), state.time_us)
    again = state.plan.in_order(state.again or ())
    reverts = _undone(state, until="ResetScope")
    kept = [number for number in state.plan.in_order(state.results) if number not in (state.again or ())]
    return Preview(runs_again=_atoms(state, again), keeps=_atoms(state, kept), reverts=tuple(reverts))


def preview_revert(state: State) -> Preview:
    """What the revert of a final run would undo, in an order it may take (G5). ``state`` is used up.

    Raises:
        Nondeterminism: the run's status does not allow it.
    """
    evolve(state, RUN, facts.RequestAccepted(request="", kind="revert"), state.time_us)
    return Preview(reverts=tuple(_undone(state, until="End")))


def preview_cancel(state: State, *, keep: bool = False) -> Preview:
    """What would be undone, in an order it may take, or kept, if the run were cancelled now (G4).

    Bodies that run would be waited for: they are taken to have been interrupted. ``state`` is used up.
    """
    if not state.started:
        return Preview()
    for wait in list(state.due.values()):
        if state.states[wait.node] == "REVERTING":
            evolve(state, wait.node, facts.TimerFired(due=wait.until_us), state.time_us)
    for number in sorted(state.running):
        reverting = state.states[number] == "REVERTING"
        lost = facts.TaskInterrupted(try_=state.tries[number], cause="", phase="revert" if reverting else "execute")
        evolve(state, number, lost, state.time_us)
    standing = list(state.plan.in_order(n for n, stands in enumerate(state.standing) if stands))
    evolve(state, RUN, facts.RequestAccepted(request="", kind="cancel", keep=keep), state.time_us)
    if state.status != "RUNNING":
        evolve(state, RUN, facts.RunResumed(), state.time_us)
    if keep:
        return Preview(keeps=_atoms(state, standing))
    return Preview(reverts=tuple(_undone(state, until="End")))


def _atoms(state: State, numbers: Iterable[int]) -> tuple[str, ...]:
    nodes = state.plan.nodes
    return tuple(nodes[number].path for number in numbers if nodes[number].is_atom)


def _undone(state: State, *, until: Kind) -> list[str]:
    """Undo in thought what is enabled to be undone, up to the action that follows; the paths, in order."""
    reverts: list[str] = []
    while (action := decide(state.plan, state)[0]).kind != until:
        if action.kind == "Revert":
            reverts.append(state.plan.nodes[action.node].path)
            if state.states[action.node] == "REVERT_FAILED":  # it must be called again before it can be undone
                started = facts.RevertStarted(try_=state.tries[action.node], key="")
                evolve(state, action.node, started, state.time_us)
        evolve(state, action.node, _done(state, action), state.time_us)
    return reverts


def _done(state: State, action: Action) -> Event:
    if action.kind == "RevertScope":
        return facts.ScopeReverting()
    return facts.TaskReverted(try_=state.tries[action.node])
