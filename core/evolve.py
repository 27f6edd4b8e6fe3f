"""`evolve`: the fold. One function per event, each touching the node, its neighbours and the scopes around it.

The state is changed in place (a copy per event would make a run quadratic), but only here, and only by events: same
plan, same events, same state. Which of the events are *due* is `decide`'s business; here an event that its atom, scope
or run cannot take in its present state is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import Nondeterminism
from flowledger.events.facts import Event
from flowledger.events.failure import FailureKind

from . import flowing, undoing
from .actions import Wait
from .branching import taken_along
from .plan import RUN, Plan
from .state import Ended, Result, Round, State
from .states import ATOM, PLAIN, RUN_SCOPE, SCOPE, Table, trigger
from .states import RUN as RUN_TABLE

_UNKNOWN: frozenset[FailureKind] = frozenset({"interrupted", "poison", "timeout"})  # failures whose effect is (C5)

Evolver = Callable[[State, int, Any, str], None]


def fold(plan: Plan, envelopes: Iterable[Envelope]) -> State:
    """The state that a log leads to."""
    state = State(plan)
    for envelope in envelopes:
        apply(state, envelope)
    return state


def apply(state: State, envelope: Envelope) -> None:
    """`evolve` with an envelope as it was read.

    Raises:
        Nondeterminism: the event speaks of a path the plan does not have, or is not legal there.
    """
    number = state.plan.by_path.get(envelope.path)
    if number is None:
        raise Nondeterminism(
            f"event {envelope.version} {envelope.type}: the plan has no {envelope.path!r}", version=envelope.version
        )
    evolve(state, number, envelope.event, envelope.time_us)


def evolve(state: State, number: int, event: Event, time_us: int) -> None:
    """Fold one event that happened to node ``number`` at ``time_us``.

    Raises:
        Nondeterminism: it is not legal in the node's present state.
    """
    state.version += 1
    state.time_us = time_us
    cls = type(event)
    _EVOLVERS[cls](state, number, event, PLAIN.get(cls) or trigger(event))


def _step(state: State, number: int, table: Table, name: str) -> None:
    """Move a node along its table."""
    now = state.states[number]
    after = table[now].get(name) if now in table else None
    if after is None:
        raise _illegal(state, state.plan.nodes[number].path or "the run", now, name)
    state.states[number] = after


def _step_run(state: State, name: str) -> None:
    after = RUN_TABLE[state.status].get(name)
    if after is None:
        raise _illegal(state, "the run", state.status, name)
    state.status = after  # type: ignore[assignment]  # the table's words are RunStatus


def _illegal(state: State, where: str, now: str, name: str) -> Nondeterminism:
    return Nondeterminism(
        f"event {state.version}: {name} is not legal for {where} in state {now}", version=state.version
    )


# -- the run ------------------------------------------------------------------------------------


def _run_submitted(state: State, number: int, event: facts.RunSubmitted, name: str) -> None:
    _step_run(state, name)
    state.submitted = event


def _run_claimed(state: State, number: int, event: facts.RunClaimed, name: str) -> None:
    state.claimed_by = event.owner
    state.epoch = event.epoch


def _nothing(state: State, number: int, event: Event, name: str) -> None:
    """Kept for people; changes nothing."""


def _run_started(state: State, number: int, event: facts.RunStarted, name: str) -> None:
    _step_run(state, name)
    _step(state, RUN, RUN_SCOPE, name)
    state.started = True
    state.on_failure = event.on_failure
    flowing.open_flow(state, RUN)


def _run_ended(state: State, number: int, event: Event, name: str) -> None:
    _step_run(state, name)
    state.agenda.drop(RUN)


def _run_suspended(state: State, number: int, event: facts.RunSuspended, name: str) -> None:
    _step_run(state, name)
    state.suspended_at_us = state.time_us


def _run_resumed(state: State, number: int, event: facts.RunResumed, name: str) -> None:
    _step_run(state, name)
    if state.suspended_at_us is not None:
        state.suspended_us += state.time_us - state.suspended_at_us
        state.suspended_at_us = None


def _request_accepted(state: State, number: int, event: facts.RequestAccepted, name: str) -> None:
    _step_run(state, name)
    if event.kind == "revert":
        _step(state, RUN, RUN_SCOPE, "reopened")
        state.direction = "BACK"
        state.broken = False
        state.agenda.add(RUN, "RevertScope")


# -- scopes -------------------------------------------------------------------------------------


def _scope_table(number: int) -> Table:
    return RUN_SCOPE if number == RUN else SCOPE


def _round_started(state: State, number: int, event: facts.RoundStarted, name: str) -> None:
    first = state.states[number] == "PENDING"
    _step(state, number, SCOPE, name)
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
    _step(state, number, SCOPE, name)
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
    _step(state, number, _scope_table(number), name)
    flowing.off_agenda(state, number)
    if number == RUN:
        state.direction = "BACK"
    undoing.begin(state, number)


def _scope_reset(state: State, number: int, event: facts.ScopeReset, name: str) -> None:
    _step(state, number, SCOPE, name)
    flowing.off_agenda(state, number)
    flowing.reset_below(state, number)
    if event.until is not None:
        state.due[number] = Wait(number, event.until, "backoff")
    else:
        flowing.on_agenda(state, number, "StartRound")


def _timer_fired(state: State, number: int, event: facts.TimerFired, name: str) -> None:
    node = state.plan.nodes[number]
    _step(state, number, ATOM if node.is_atom else SCOPE, name)
    state.due.pop(number, None)
    if not node.is_atom:
        flowing.on_agenda(state, number, "StartRound")
    elif state.states[number] == "REVERTING":
        undoing.enable_revert(state, number)
    else:
        flowing.on_agenda(state, number, "Start", node.lane)


# -- branches -----------------------------------------------------------------------------------


def _branch_decided(state: State, number: int, event: facts.BranchDecided, name: str) -> None:
    node = state.plan.nodes[number]
    flowing.off_agenda(state, number)
    flowing.touch(state, number)
    if event.error is not None:
        if node.is_atom:
            _step(state, number, ATOM, "BranchErred")
        state.failures[number] = event.error
        state.failed.setdefault(node.scope, set()).add(number)
        flowing.fail_scope(state, node.scope)
        return
    state.decided.add(number)
    if event.no is not None:
        along = state.skips[number] = taken_along(state.plan.nodes, number, event.no)
        for doomed in along:
            state.doomed[doomed] = state.doomed.get(doomed, 0) + 1
    flowing.branch_open(state, number)


def _task_skipped(state: State, number: int, event: facts.TaskSkipped, name: str) -> None:
    if state.plan.nodes[number].is_atom:
        _step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    flowing.touch(state, number)
    state.skipped.add(number)
    flowing.node_done(state, number)


# -- atoms: forward -----------------------------------------------------------------------------


def _task_started(state: State, number: int, event: facts.TaskStarted, name: str) -> None:
    first = state.states[number] == "PENDING"
    _step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    if first:
        flowing.touch(state, number)
    state.attempts[number] = event.attempt
    if state.standing[number] == 0:
        undoing.stand(state, number)
    node = state.plan.nodes[number]
    task = node.task
    if task is not None and task.deadline_s is not None and number not in state.first_started_us:
        state.first_started_us[number] = state.time_us - state.suspended_us
    waiting = state.waiting.get(node.scope)
    if waiting is not None:
        waiting.discard(number)
    state.running.add(number)
    flowing.busier(state, node.scope)


def _body_ended(state: State, number: int) -> bool:
    """The body runs no more (a poll's was not counted as running). True if it was."""
    if number not in state.running:
        return False
    state.running.discard(number)
    return True


def _settle_body(state: State, number: int, was_running: bool) -> None:
    """After all else an outcome does: its scopes have one body less, and may be drained by it."""
    if was_running:
        flowing.calmer(state, state.plan.nodes[number].scope)


def _leave_wait(state: State, number: int) -> None:
    state.due.pop(number, None)
    waiting = state.waiting.get(state.plan.nodes[number].scope)
    if waiting is not None:
        waiting.discard(number)


def _task_waiting(state: State, number: int, event: facts.TaskWaiting, name: str) -> None:
    sleeps = state.states[number] == "PENDING"
    if sleeps:
        flowing.touch(state, number)
        flowing.off_agenda(state, number)
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    if not sleeps:
        state.polls[number] = event.polls
    state.due[number] = Wait(number, event.until, "sleep" if sleeps else "poll")
    _wait(state, number)
    _settle_body(state, number, was_running)


def _wait(state: State, number: int) -> None:
    scope = state.plan.nodes[number].scope
    if flowing.may_start(state, scope):
        state.waiting.setdefault(scope, set()).add(number)
    else:  # the scope began to drain while the body ran: what would wait ends at once (D1)
        flowing.end_wait(state, number)


def _task_succeeded(state: State, number: int, event: facts.TaskSucceeded, name: str) -> None:
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    if not was_running:
        flowing.off_agenda(state, number)  # a sleep that is over
        _leave_wait(state, number)
    if event.polls:
        state.polls[number] = event.polls
    state.results[number] = Result(event.result, event.moved)
    flowing.node_done(state, number)
    _settle_body(state, number, was_running)


def _task_failed(state: State, number: int, event: facts.TaskFailed, name: str) -> None:
    if state.states[number] == "PENDING":
        flowing.touch(state, number)
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    flowing.off_agenda(state, number)
    _leave_wait(state, number)
    state.failures[number] = event.failure
    state.failure_counts[number] = state.failure_counts.get(number, 0) + 1
    if event.failure.kind != "timeout":
        state.known_failures[number] = state.known_failures.get(number, 0) + 1
    if event.again:
        _try_again(state, number, event.until)
    else:
        scope = state.plan.nodes[number].scope
        state.failed.setdefault(scope, set()).add(number)
        flowing.fail_scope(state, scope)
    _settle_body(state, number, was_running)


def _try_again(state: State, number: int, until: int | None) -> None:
    if until is not None:
        state.due[number] = Wait(number, until, "backoff")
        _wait(state, number)
        return
    node = state.plan.nodes[number]
    if flowing.may_start(state, node.scope):
        state.waiting.setdefault(node.scope, set()).add(number)
        flowing.on_agenda(state, number, "Start", node.lane)
    else:
        flowing.end_wait(state, number)


def _task_interrupted(state: State, number: int, event: facts.TaskInterrupted, name: str) -> None:
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    node = state.plan.nodes[number]
    if event.phase == "revert":
        state.revert_interruptions[number] = state.revert_interruptions.get(number, 0) + 1
        undoing.enable_revert(state, number)
    else:
        state.interruptions[number] = state.interruptions.get(number, 0) + 1
        flowing.on_agenda(state, number, "Start", node.lane)
    _settle_body(state, number, was_running)


# -- atoms: back --------------------------------------------------------------------------------


def _revert_started(state: State, number: int, event: facts.RevertStarted, name: str) -> None:
    if number not in state.ended:
        state.ended[number] = ended(state, number)
    _step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    _leave_wait(state, number)
    state.revert_attempts[number] = event.attempt
    state.running.add(number)
    flowing.busier(state, state.plan.nodes[number].scope)


def ended(state: State, number: int) -> Ended:
    """How the execute of an atom has ended when its revert begins; what was lost or overdue may have had its effect."""
    now = state.states[number]
    if now != "FAILED":
        return "succeeded" if now == "SUCCEEDED" else "unknown"
    return "unknown" if state.failures[number].kind in _UNKNOWN else "failed"


def _task_reverted(state: State, number: int, event: facts.TaskReverted, name: str) -> None:
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    flowing.off_agenda(state, number)
    _leave_wait(state, number)
    undoing.reverted(state, number)
    _settle_body(state, number, was_running)


def _revert_failed(state: State, number: int, event: facts.RevertFailed, name: str) -> None:
    _step(state, number, ATOM, name)
    was_running = _body_ended(state, number)
    flowing.off_agenda(state, number)
    state.revert_errors[number] = event.failure
    state.revert_failures[number] = state.revert_failures.get(number, 0) + 1
    if not event.again:
        undoing.failed(state, number)
    elif event.until is not None:
        state.due[number] = Wait(number, event.until, "backoff")
    else:
        undoing.enable_revert(state, number)
    _settle_body(state, number, was_running)


_EVOLVERS: dict[type[Event], Evolver] = {
    facts.RunSubmitted: _run_submitted,
    facts.RunClaimed: _run_claimed,
    facts.RunReleased: _nothing,
    facts.RunStarted: _run_started,
    facts.RunSuspended: _run_suspended,
    facts.RunResumed: _run_resumed,
    facts.RunSucceeded: _run_ended,
    facts.RunReverted: _run_ended,
    facts.RunFailed: _run_ended,
    facts.RequestAccepted: _request_accepted,
    facts.RequestRefused: _nothing,
    facts.RoundStarted: _round_started,
    facts.RetryDecided: _retry_decided,
    facts.ScopeReverting: _scope_reverting,
    facts.ScopeReset: _scope_reset,
    facts.TimerFired: _timer_fired,
    facts.BranchDecided: _branch_decided,
    facts.TaskSkipped: _task_skipped,
    facts.TaskStarted: _task_started,
    facts.TaskWaiting: _task_waiting,
    facts.TaskSucceeded: _task_succeeded,
    facts.TaskFailed: _task_failed,
    facts.TaskInterrupted: _task_interrupted,
    facts.RevertStarted: _revert_started,
    facts.TaskReverted: _task_reverted,
    facts.RevertFailed: _revert_failed,
    facts.OutcomeIgnored: _nothing,
}
