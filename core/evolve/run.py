"""The fold of what happens to the run as a whole: claimed, started, suspended, asked, ended."""

from __future__ import annotations

from flowledger.core import flowing
from flowledger.core.plan import RUN
from flowledger.core.rerunning import choose
from flowledger.core.state import State
from flowledger.core.states import RUN_SCOPE
from flowledger.events import facts
from flowledger.events.facts import Event

from .stepping import Evolvers, nothing, step, step_run


def _run_submitted(state: State, number: int, event: facts.RunSubmitted, name: str) -> None:
    step_run(state, name)
    state.submitted = event


def _run_claimed(state: State, number: int, event: facts.RunClaimed, name: str) -> None:
    state.claimed_by = event.owner
    state.epoch = event.epoch


def _run_started(state: State, number: int, event: facts.RunStarted, name: str) -> None:
    step_run(state, name)
    step(state, RUN, RUN_SCOPE, name)
    state.started = True
    state.on_failure = event.on_failure
    flowing.open_flow(state, RUN)


def _run_ended(state: State, number: int, event: Event, name: str) -> None:
    step_run(state, name)
    state.agenda.drop(RUN)
    state.again = state.undo = None  # a rerun whose reverts failed


def _run_succeeded(state: State, number: int, event: facts.RunSucceeded, name: str) -> None:
    _run_ended(state, number, event, name)
    if state.states[RUN] == "RUNNING":  # a later plan has more in it than the one that was done (E8)
        flowing.close(state)


def _run_suspended(state: State, number: int, event: facts.RunSuspended, name: str) -> None:
    step_run(state, name)
    state.suspended_at_us = state.time_us


def _run_resumed(state: State, number: int, event: facts.RunResumed, name: str) -> None:
    step_run(state, name)
    if state.suspended_at_us is not None:
        state.suspended_us += state.time_us - state.suspended_at_us
        state.suspended_at_us = None


def _request_accepted(state: State, number: int, event: facts.RequestAccepted, name: str) -> None:
    step_run(state, name)
    if event.kind == "revert":
        _reopen(state)
        state.direction = "BACK"
        state.agenda.add(RUN, "RevertScope")
    elif event.kind == "rerun":
        _reopen(state)
        state.direction = "FORWARD"
        state.again, state.undo, _ = choose(state, event.from_)
        state.agenda.add(RUN, "RevertScope" if state.undo else "ResetScope")


def _reopen(state: State) -> None:
    step(state, RUN, RUN_SCOPE, "reopened")
    state.broken = False


EVOLVERS: Evolvers = {
    facts.RunSubmitted: _run_submitted,
    facts.RunClaimed: _run_claimed,
    facts.RunReleased: nothing,
    facts.RunStarted: _run_started,
    facts.PlanChanged: nothing,
    facts.RunSuspended: _run_suspended,
    facts.RunResumed: _run_resumed,
    facts.RunSucceeded: _run_succeeded,
    facts.RunReverted: _run_ended,
    facts.RunFailed: _run_ended,
    facts.RequestAccepted: _request_accepted,
    facts.RequestRefused: nothing,
}
