"""The fold of a run that begins once more: what has succeeded is kept, the rest is as at the start (G5).

Only here is the whole plan visited: a person has asked for it, once.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowledger.core import flowing, growing, undoing
from flowledger.core.following import sources
from flowledger.core.plan import RUN
from flowledger.core.state import State


def start_over(state: State) -> None:
    """Reset what runs again, keep the rest, and open the run: what is kept is done as soon as its turn comes."""
    again, state.again, state.undo = state.again or set[int](), None, None
    partly = _around(state, again)
    stood = {number for number, stands in enumerate(state.standing) if stands}
    _forget_counters(state)
    for number in sorted(again | partly):
        _reset(state, number, again, partly)
    for number in [number for number in again if state.plan.nodes[number].expanded]:  # made anew of what there is then
        growing.drop(state, number)
    kept = [n for n, now in enumerate(state.states) if now == "SUCCEEDED" and state.plan.nodes[n].is_atom]
    keep(state, [*kept, *sorted(state.skipped)])
    standing = state.kept & stood
    mark_hollow(state, standing)
    for number in sorted(standing):
        undoing.stand(state, number)
    flowing.open_flow(state, RUN)


def keep(state: State, numbers: Iterable[int]) -> None:
    """These nodes are done from the start. A reset of a flow around them must find them (rule D4)."""
    nodes = state.plan.nodes
    for number in numbers:
        state.kept.add(number)
        child = number
        while child != RUN:
            siblings = state.touched.setdefault(nodes[child].parent, {})
            if child in siblings:
                break
            siblings[child] = None
            child = nodes[child].parent


def mark_hollow(state: State, standing: set[int]) -> None:
    """Of what is kept, see what has nothing standing in it: it is passed over in the order of reverts (D4)."""
    state.hollow.clear()
    for node in reversed(state.plan.nodes[1:]):  # what is in a flow before the flow
        number = node.number
        if number in state.kept:
            is_hollow = number not in standing
        elif node.expansion is not None and not node.expanded:
            is_hollow = False  # nobody knows yet what will be in it
        else:
            is_hollow = not node.is_atom and all(child in state.hollow for child in node.children)
        if is_hollow:
            state.hollow[number] = None


def _around(state: State, again: set[int]) -> set[int]:
    """The flows that have something in them that runs again, but not all."""
    nodes, found = state.plan.nodes, set[int]()
    for number in again:
        flow = nodes[number].parent
        while flow != RUN and flow not in again and flow not in found:
            found.add(flow)
            flow = nodes[flow].parent
    return found


def _forget_counters(state: State) -> None:
    """What counts neighbours is as before the start; nothing runs, waits or drains in a run that is over."""
    nodes = state.plan.nodes
    state.blockers = [len(node.preds) for node in nodes]
    state.open_children = [len(node.children) for node in nodes]
    state.standing = [0] * len(nodes)
    state.standing_succs = [0] * len(nodes)
    state.kept.clear()
    state.agenda.clear()
    for per_scope in (
        state.touched, state.failed, state.waiting, state.members, state.live_scopes, state.busy, state.open_reverts,
        state.revert_scope, state.due,
    ):  # fmt: skip
        per_scope.clear()


def _reset(state: State, number: int, again: set[int], partly: set[int]) -> None:
    node = state.plan.nodes[number]
    if number in again:
        state.skipped.discard(number)
    if number in state.decided and any(source in again or source in partly for source in sources(node)):
        flowing.forget_verdict(state, number)
    if node.is_atom:
        if state.states[number] != "PENDING":
            flowing.reset_atom(state, number)
        return
    state.failures.pop(number, None)  # of a predicate, or of an expansion
    if node.retry is not None:
        flowing.reset_inner_scope(state, number)
