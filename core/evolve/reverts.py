"""The fold of an atom's way back (rules D4, D5): its revert started, done, failed."""

from __future__ import annotations

from flowledger.core import flowing, undoing
from flowledger.core.actions import Wait
from flowledger.core.state import Ended, State
from flowledger.core.states import ATOM
from flowledger.events import facts
from flowledger.events.failure import FailureKind

from .bodies import body_ended, body_started, leave_wait, settle_body
from .stepping import Evolvers, step

_UNKNOWN: frozenset[FailureKind] = frozenset({"interrupted", "poison", "timeout"})  # failures whose effect is (C5)


def _revert_started(state: State, number: int, event: facts.RevertStarted, name: str) -> None:
    if number not in state.ended:
        state.ended[number] = ended(state, number)
    step(state, number, ATOM, name)
    flowing.off_agenda(state, number)
    leave_wait(state, number)
    state.revert_attempts[number] = event.attempt
    body_started(state, number, event.queue)


def ended(state: State, number: int) -> Ended:
    """How the execute of an atom has ended when its revert begins; what was lost or overdue may have had its effect."""
    now, task = state.states[number], state.plan.nodes[number].task
    said = state.resolved.get(number)
    if now == "INTERRUPTED" and said is not None and said.resolution != "rerun":
        return said.resolution
    may_have_committed = now == "INTERRUPTED" and number in state.polls  # a poll that drained while its body ran (D1)
    if task is not None and task.execute.connection is not None and not may_have_committed:
        return "succeeded" if now == "SUCCEEDED" else "failed"  # declared lost: nothing of it is there (C8)
    if now != "FAILED":
        return "succeeded" if now == "SUCCEEDED" else "unknown"
    return "unknown" if state.failures[number].kind in _UNKNOWN else "failed"


def _task_reverted(state: State, number: int, event: facts.TaskReverted, name: str) -> None:
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    flowing.off_agenda(state, number)
    leave_wait(state, number)
    undoing.reverted(state, number)
    settle_body(state, number, was_running)


def _revert_failed(state: State, number: int, event: facts.RevertFailed, name: str) -> None:
    step(state, number, ATOM, name)
    was_running = body_ended(state, number)
    flowing.off_agenda(state, number)
    state.revert_errors[number] = event.failure
    state.revert_failures[number] = state.revert_failures.get(number, 0) + 1
    if event.failure.kind not in ("timeout", "poison"):  # of these nobody knows what they did (C5)
        state.known_revert_failures[number] = state.known_revert_failures.get(number, 0) + 1
    if not event.again:
        undoing.failed(state, number)
    elif event.until is not None:
        state.due[number] = Wait(number, event.until, "backoff")
    else:
        undoing.enable_revert(state, number)
    settle_body(state, number, was_running)


EVOLVERS: Evolvers = {
    facts.RevertStarted: _revert_started,
    facts.TaskReverted: _task_reverted,
    facts.RevertFailed: _revert_failed,
}
