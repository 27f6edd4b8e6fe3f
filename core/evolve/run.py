"""The fold of what happens to the run as a whole: claimed, started, suspended, ended."""

from __future__ import annotations

from typing import NamedTuple

from flowledger.core import flowing
from flowledger.core.plan import RUN
from flowledger.core.state import State
from flowledger.core.states import RUN_SCOPE
from flowledger.events import facts
from flowledger.events.facts import Event
from flowledger.events.store import RunStatus

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
    state.held = {}  # nobody has to say any more what became of what: it has failed, with its run (G3)


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
        away_us = state.time_us - state.suspended_at_us
        state.suspended_us += away_us
        state.suspended_at_us = None
        for waiting, wait in state.due.items():
            if wait.why == "signal":  # a time limit, which does not count it (G2)
                state.due[waiting] = wait._replace(until_us=wait.until_us + away_us)


class BeforeEnding(NamedTuple):
    """What the fold of an ending changes, as it was before."""

    version: int
    status: RunStatus
    suspended_at_us: int | None
    again: set[int] | None
    undo: set[int] | None
    held: dict[int, str]
    end_enabled: bool


#: The one event of an append whose fold can be taken back: it is the last, and nothing has come of it.
ENDINGS = (facts.RunSuspended, facts.RunSucceeded, facts.RunReverted, facts.RunFailed, facts.RunCancelled)


def before_ending(state: State) -> BeforeEnding:
    """What to remember before one of `ENDINGS` is folded that may be refused, because there is unseen mail (G1)."""
    return BeforeEnding(
        state.version, state.status, state.suspended_at_us, state.again, state.undo, state.held,
        state.agenda.kind(RUN) == "End",
    )  # fmt: skip


def take_back(state: State, before: BeforeEnding) -> None:
    """The state as it was before the ending."""
    state.version, state.status, state.suspended_at_us, state.again, state.undo, state.held, end_enabled = before
    if end_enabled:
        state.agenda.add(RUN, "End")


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
    facts.RunCancelled: _run_ended,
    facts.RunErased: nothing,
}
