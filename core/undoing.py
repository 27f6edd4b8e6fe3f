"""The fold's way back: what stands, what may be undone now, and when the revert of a scope is complete (D4, D5).

Part of `evolve`: nothing here is called from anywhere else but the fold.
"""

from __future__ import annotations

from . import flowing
from .plan import RUN, Node, crosses
from .state import State


def stand(state: State, number: int) -> None:
    """The atom has begun to have effects: what comes before it cannot be undone before it."""
    nodes, standing, standing_succs = state.plan.nodes, state.standing, state.standing_succs
    while True:
        standing[number] += 1
        if standing[number] > 1 or number == RUN:
            return
        for before in nodes[number].preds:
            standing_succs[before] += 1
            if before in state.hollow and standing_succs[before] == 1:
                _stand_through(state, before)
        number = nodes[number].parent


def _stand_through(state: State, hollow: int) -> None:
    """Something stands after a flow without atoms, so also after all that comes before that flow."""
    stack = [hollow]
    while stack:
        for before in state.plan.nodes[stack.pop()].preds:
            state.standing_succs[before] += 1
            if before in state.hollow and state.standing_succs[before] == 1:
                stack.append(before)


def lower(state: State, number: int) -> list[int]:
    """The atom stands no more. Returns the nodes that have nothing standing after them any more."""
    nodes, standing = state.plan.nodes, state.standing
    freed: list[int] = []
    while True:
        standing[number] -= 1
        if standing[number]:
            return freed
        _lower_after(state, number, freed)
        if number == RUN:
            return freed
        number = nodes[number].parent


def _lower_after(state: State, number: int, freed: list[int]) -> None:
    """The node stands no more after what comes before it; a flow without atoms passes that on."""
    stack = [number]
    while stack:
        for before in state.plan.nodes[stack.pop()].preds:
            state.standing_succs[before] -= 1
            if state.standing_succs[before] == 0:
                (stack if before in state.hollow else freed).append(before)


def begin(state: State, scope: int) -> None:
    """The revert of a scope begins with whatever has nothing standing after it."""
    if scope != RUN:
        flowing.busier(state, scope)
    state.open_reverts[scope] = 0
    _spread(state, scope, scope)
    if state.open_reverts[scope] == 0:
        _complete(state, scope)


def widen(state: State) -> None:
    """The revert under way of some of the run becomes one of all of it (G4)."""
    state.agenda.drop(RUN)
    _spread(state, RUN, RUN)
    if state.open_reverts[RUN] == 0:
        _complete(state, RUN)


def _spread(state: State, number: int, scope: int) -> None:
    """Enable the reverts under a node that is free to be undone, latest first in nothing but the log's order."""
    nodes, standing_succs = state.plan.nodes, state.standing_succs
    stack = [number]
    while stack:
        number = stack.pop()
        if nodes[number].is_atom:
            _enable(state, number, scope)
            continue
        touched = state.touched.get(number, ())
        stack.extend([child for child in touched if state.standing[child] and standing_succs[child] == 0])


def _enable(state: State, number: int, scope: int) -> None:
    if number in state.revert_scope or (state.undo is not None and number not in state.undo):
        return
    if state.states[number] == "REVERT_FAILED":  # a person asked again: its attempts count afresh
        # its key does not (C5): what is known of them stays counted
        for per_atom in (state.revert_attempts, state.revert_failures, state.revert_interruptions):
            per_atom.pop(number, None)
    state.revert_scope[number] = scope
    state.open_reverts[scope] += 1
    enable_revert(state, number)


def enable_revert(state: State, number: int) -> None:
    """The atom's revert may be called (again)."""
    node = state.plan.nodes[number]
    state.agenda.add(number, "Revert", revert_lane(node))
    state.members.setdefault(node.scope, set()).add(number)


def revert_lane(node: Node) -> str:
    """The executor a revert needs: none where there is nothing to call."""
    if node.task is None or node.task.revert is None:
        return "control"
    if node.lane in ("inline", "workers"):
        return node.lane
    if node.task.revert.connection is not None:
        return "transaction"
    if node.task.revert.is_async:
        return "async"
    return node.lane if crosses(node.lane) else "threads"


def reverted(state: State, number: int) -> None:
    """The atom is undone: what it stood on may be undone next."""
    scope = state.revert_scope.pop(number, RUN)
    for before in lower(state, number):
        if state.standing[before] and _is_free(state, before, scope):
            _spread(state, before, scope)
    _one_less(state, scope)


def _is_free(state: State, number: int, scope: int) -> bool:
    """Whether nothing stands after the node, nor after a flow around it within the scope being reverted."""
    nodes, standing_succs = state.plan.nodes, state.standing_succs
    while number != scope:
        if standing_succs[number] or number == RUN:
            return False
        number = nodes[number].parent
    return True


def failed(state: State, number: int) -> None:
    """A revert failed for good: what stands before the atom stays, the run will end FAILED (D5)."""
    scope = state.revert_scope.pop(number, RUN)
    state.broken = True
    flowing.fail_scope(state, RUN)
    _one_less(state, scope)


def _one_less(state: State, scope: int) -> None:
    state.open_reverts[scope] -= 1
    if state.open_reverts[scope] == 0:
        _complete(state, scope)


def _complete(state: State, scope: int) -> None:
    """All that could be undone in the scope is undone."""
    if scope == RUN:
        state.agenda.add(RUN, "ResetScope" if state.again is not None and not state.broken else "End")
        return
    if not state.standing[scope]:
        flowing.off_agenda(state, scope)
        _reset_next(state, scope)
    flowing.calmer(state, scope)


def _reset_next(state: State, scope: int) -> None:
    if flowing.may_start(state, state.plan.nodes[scope].scope):
        flowing.on_agenda(state, scope, "ResetScope")
