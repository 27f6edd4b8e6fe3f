"""The fold of an atom's way forward: started, waiting, succeeded, failed, interrupted."""

from __future__ import annotations

from flowledger.core import flowing, undoing
from flowledger.core.actions import Wait
from flowledger.core.state import State
from flowledger.core.states import ATOM
from flowledger.core.stored import Result
from flowledger.events import facts

from .bodies import body_ended, body_started, leave_wait, settle_body, try_again, wait
from .stepping import Evolvers, step, step_run


def _task_started(state: State, number: int, event: facts.TaskStarted, name: str) -> None:
    first = state.states[number] == "PENDING"
    step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    if first:
        flowing.touch(state, number)
    if state.resolved:
        state.resolved.pop(number, None)
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
    body_started(state, number, event.queue)


def _task_waiting(state: State, number: int, event: facts.TaskWaiting, name: str) -> None:
    if state.states[number] == "PENDING":  # a sleep, or a wait for a signal: nothing is called
        flowing.touch(state, number)
        flowing.off_agenda(state, number)
        step(state, number, ATOM, name)
        if event.until is not None:
            state.due[number] = Wait(number, event.until, "signal" if event.signal else "sleep")
        wait(state, number)
        if event.signal:
            flowing.listen(state, number, event.signal)
        return
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    state.polls[number] = event.polls
    if event.until is not None:
        state.due[number] = Wait(number, event.until, "poll")
    wait(state, number)
    settle_body(state, number, was_running)


def _task_held(state: State, number: int, event: facts.TaskHeld, name: str) -> None:
    """The run is suspended as soon as nothing runs in it, until a person has said what became of the attempt (G3)."""
    step(state, number, ATOM, name)
    step_run(state, "held")
    was_running = body_ended(state, number)
    flowing.off_agenda(state, number)
    leave_wait(state, number)
    state.held[number] = event.reason
    settle_body(state, number, was_running)


def _task_succeeded(state: State, number: int, event: facts.TaskSucceeded, name: str) -> None:
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    if not was_running:
        flowing.off_agenda(state, number)  # a sleep that is over, a signal taken, or what a person has said
        leave_wait(state, number)
        state.offered.pop(number, None)
        state.resolved.pop(number, None)
    if event.polls:
        state.polls[number] = event.polls
    state.results[number] = Result(event.result, event.moved)
    flowing.node_done(state, number)
    settle_body(state, number, was_running)


def _task_failed(state: State, number: int, event: facts.TaskFailed, name: str) -> None:
    if state.states[number] == "PENDING":
        flowing.touch(state, number)
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    flowing.off_agenda(state, number)
    leave_wait(state, number)
    state.resolved.pop(number, None)
    state.failures[number] = event.failure
    state.failure_counts[number] = state.failure_counts.get(number, 0) + 1
    if event.failure.kind != "timeout":
        state.known_failures[number] = state.known_failures.get(number, 0) + 1
    if event.again:
        try_again(state, number, event.until)
    else:
        scope = state.plan.nodes[number].scope
        state.failed.setdefault(scope, set()).add(number)
        flowing.fail_scope(state, scope)
    settle_body(state, number, was_running)


def _task_interrupted(state: State, number: int, event: facts.TaskInterrupted, name: str) -> None:
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    node = state.plan.nodes[number]
    if event.phase == "revert":
        state.revert_interruptions[number] = state.revert_interruptions.get(number, 0) + 1
        undoing.enable_revert(state, number)
    else:
        state.interruptions[number] = state.interruptions.get(number, 0) + 1
        flowing.on_agenda(state, number, "Start", node.lane)
    settle_body(state, number, was_running)


def _outcome_ignored(state: State, number: int, event: facts.OutcomeIgnored, name: str) -> None:
    """It changes nothing; a revert of the same try may want to know (C4)."""
    if event.phase == "execute" and event.try_ == state.tries[number]:
        state.late[number] = (*state.late.get(number, ()), event)


EVOLVERS: Evolvers = {
    facts.TaskStarted: _task_started,
    facts.TaskWaiting: _task_waiting,
    facts.TaskSucceeded: _task_succeeded,
    facts.TaskFailed: _task_failed,
    facts.TaskInterrupted: _task_interrupted,
    facts.TaskHeld: _task_held,
    facts.OutcomeIgnored: _outcome_ignored,
}
