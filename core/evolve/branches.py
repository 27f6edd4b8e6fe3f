"""The fold of branches (rule E6): what predicates said, and what is skipped because of it."""

from __future__ import annotations

from flowledger.core import flowing
from flowledger.core.branching import taken_along
from flowledger.core.state import State
from flowledger.core.states import ATOM
from flowledger.events import facts

from .stepping import Evolvers, step


def _branch_decided(state: State, number: int, event: facts.BranchDecided, name: str) -> None:
    node = state.plan.nodes[number]
    flowing.off_agenda(state, number)
    flowing.touch(state, number)
    if event.error is not None:
        if node.is_atom:
            step(state, number, ATOM, "BranchErred")
        state.failures[number] = event.error
        state.failed.setdefault(node.scope, set()).add(number)
        flowing.fail_scope(state, node.scope)
        return
    state.decided[number] = None
    if event.no is not None:
        along = state.skips[number] = taken_along(state.plan.nodes, number, event.no)
        for doomed in along:
            state.doomed[doomed] = state.doomed.get(doomed, 0) + 1
    flowing.go_on(state, number)


def _task_skipped(state: State, number: int, event: facts.TaskSkipped, name: str) -> None:
    if state.plan.nodes[number].is_atom:
        step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    flowing.touch(state, number)
    state.skipped.add(number)
    flowing.node_done(state, number)


EVOLVERS: Evolvers = {
    facts.BranchDecided: _branch_decided,
    facts.TaskSkipped: _task_skipped,
}
