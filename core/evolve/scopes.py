"""The fold of what happens to retry scopes (rules D1 to D3): rounds, answers, resets, and timers."""

from __future__ import annotations

from flowledger.core import flowing, undoing
from flowledger.core.actions import Wait
from flowledger.core.plan import RUN
from flowledger.core.state import Round, State
from flowledger.core.states import ATOM, RUN_SCOPE, SCOPE, Table
from flowledger.events import facts

from .anew import start_over
from .stepping import Evolvers, step


def _scope_table(number: int) -> Table:
    return RUN_SCOPE if number == RUN else SCOPE


def _round_started(state: State, number: int, event: facts.RoundStarted, name: str) -> None:
    first = state.states[number] == "PENDING"
    step(state, number, SCOPE, name)
    flowing.off_agenda(state, number)
    state.rounds[number] = event.round
    state.history.setdefault(number, []).append(Round(event.value, state.time_us - state.suspended_us))
    if first:
        flowing.touch(state, number)
        state.live_scopes.setdefault(state.plan.nodes[number].scope, set()).add(number)
    flowing.open_flow(state, number)


def _retry_decided(state: State, number: int, event: facts.RetryDecided, name: str) -> None:
    flowing.off_agenda(state, number)
    if state.states[number] == "PENDING":  # `value` raised before the first round
        flowing.touch(state, number)
        state.live_scopes.setdefault(state.plan.nodes[number].scope, set()).add(number)
    step(state, number, SCOPE, name)
    if event.error is not None:
        state.retry_errors[number] = event.error
    rounds = state.history.get(number)
    if rounds:
        rounds[-1] = rounds[-1]._replace(failures=event.failures, ended_us=state.time_us - state.suspended_us)
    state.backoff_s[number] = event.backoff_s
    if name == "RetryDecidedRetry":
        flowing.on_agenda(state, number, "RevertScope")
    else:
        outer = RUN if event.decision == "REVERT_ALL" else state.plan.nodes[number].scope
        flowing.fail_scope(state, outer)


def _scope_reverting(state: State, number: int, event: facts.ScopeReverting, name: str) -> None:
    step(state, number, _scope_table(number), name)
    flowing.off_agenda(state, number)
    if number == RUN:
        state.direction = "BACK"
    undoing.begin(state, number)


def _scope_reset(state: State, number: int, event: facts.ScopeReset, name: str) -> None:
    step(state, number, _scope_table(number), name)
    flowing.off_agenda(state, number)
    if number == RUN:
        state.direction = "FORWARD"
        start_over(state)
        return
    flowing.reset_below(state, number)
    if event.until is not None:
        state.due[number] = Wait(number, event.until, "backoff")
    else:
        flowing.on_agenda(state, number, "StartRound")


def _timer_fired(state: State, number: int, event: facts.TimerFired, name: str) -> None:
    node = state.plan.nodes[number]
    step(state, number, ATOM if node.is_atom else SCOPE, name)
    state.due.pop(number, None)
    if not node.is_atom:
        flowing.on_agenda(state, number, "StartRound")
    elif state.states[number] == "REVERTING":
        undoing.enable_revert(state, number)
    elif number not in state.offered:  # a signal that came in time is taken
        flowing.unlisten(state, [number])
        flowing.on_agenda(state, number, "Start", node.lane)


EVOLVERS: Evolvers = {
    facts.RoundStarted: _round_started,
    facts.RetryDecided: _retry_decided,
    facts.ScopeReverting: _scope_reverting,
    facts.ScopeReset: _scope_reset,
    facts.TimerFired: _timer_fired,
}
