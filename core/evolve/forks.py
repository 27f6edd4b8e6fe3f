"""The fold of a fork's beginning: what it takes over from its source is done before it starts (G6)."""

from __future__ import annotations

from flowledger.core import undoing
from flowledger.core.inheriting import result_of, value_of
from flowledger.core.state import Round, State
from flowledger.core.states import ATOM, SCOPE
from flowledger.core.stored import Result
from flowledger.events import facts
from flowledger.events.errors import Nondeterminism

from .anew import keep, mark_hollow
from .stepping import Evolvers, step, step_run


def _run_forked(state: State, number: int, event: facts.RunForked, name: str) -> None:
    step_run(state, name)
    taken = state.taken
    if taken is None:
        raise Nondeterminism(f"the log of run {event.source} is needed, of which this is a fork", version=state.version)
    atoms = [_atom(state, path, result_of(event, path, taken)) for path in event.inherited]
    skipped = [_skipped(state, path) for path in event.skipped]
    state.decided.update(dict.fromkeys(_number(state, path) for path in event.decided))
    for path in event.rounds:
        scope = _number(state, path)
        step(state, scope, SCOPE, "inherited")
        state.rounds[scope] = 1
        state.history[scope] = [Round(value_of(event, path, taken), 0)]
    keep(state, [*atoms, *skipped])
    standing = {atom for atom in atoms if event.adopted and taken.done[state.plan.nodes[atom].path].stands}
    mark_hollow(state, standing)
    for atom in sorted(standing):
        undoing.stand(state, atom)


def _number(state: State, path: str) -> int:
    number = state.plan.by_path.get(path)
    if number is None:
        raise Nondeterminism(f"event {state.version} RunForked: the plan has no {path!r}", version=state.version)
    return number


def _atom(state: State, path: str, result: Result) -> int:
    number = _number(state, path)
    step(state, number, ATOM, "inherited")
    state.results[number] = result
    return number


def _skipped(state: State, path: str) -> int:
    number = _number(state, path)
    if state.plan.nodes[number].is_atom:
        step(state, number, ATOM, "TaskSkipped")
    state.skipped.add(number)
    return number


EVOLVERS: Evolvers = {facts.RunForked: _run_forked}
