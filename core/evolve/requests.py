"""The fold of what people ask of a run (rules G1 to G5): what is answered with yes changes it, the rest is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowledger.core import flowing, undoing
from flowledger.core.plan import RUN
from flowledger.core.rerunning import choose
from flowledger.core.state import Received, Resolved, State
from flowledger.core.states import RUN_SCOPE
from flowledger.core.stored import Result
from flowledger.events import facts
from flowledger.events.facts import RequestKind

from .stepping import Evolvers, step, step_run


def _request_accepted(state: State, number: int, event: facts.RequestAccepted, name: str) -> None:
    step_run(state, name)
    state.answered[event.request] = None
    effect = _EFFECTS.get(event.kind)
    if effect is not None:
        effect(state, number, event)


def _revert(state: State, number: int, event: facts.RequestAccepted) -> None:
    _reopen(state)
    state.direction = "BACK"
    state.agenda.add(RUN, "RevertScope")


def _rerun(state: State, number: int, event: facts.RequestAccepted) -> None:
    _reopen(state)
    state.direction = "FORWARD"
    state.again, state.undo, _ = choose(state, event.from_)
    state.agenda.add(RUN, "RevertScope" if state.undo else "ResetScope")


def _reopen(state: State) -> None:
    step(state, RUN, RUN_SCOPE, "reopened")
    state.broken = False
    state.cancelled = None


def _cancel(state: State, number: int, event: facts.RequestAccepted) -> None:
    """The run fails, and is not asked (G4). A revert under way becomes one of all that stands."""
    state.cancelled = "keep" if event.keep else "revert"
    now = state.states[RUN]
    widens = state.again is not None
    state.again = state.undo = None  # a rerun that had not gone forward yet will not
    if now in ("RUNNING", "DRAINING"):
        flowing.fail_scope(state, RUN)
    elif now == "DONE" and not event.keep:
        step(state, RUN, RUN_SCOPE, "reopened")
        state.agenda.add(RUN, "RevertScope")
    elif now == "ASKED":  # a rerun, or a revert, of which nothing has come yet
        state.agenda.add(RUN, "End" if event.keep else "RevertScope")
    elif now == "REVERTING" and widens:
        state.direction = "BACK"
        undoing.widen(state)


def _fork(state: State, number: int, event: facts.RequestAccepted) -> None:
    """Another run answers for what this one did (G6)."""
    state.adopted_by = event.fork or ""


def _resolve(state: State, number: int, event: facts.RequestAccepted) -> None:
    """A person has said what became of the attempt (G3): the atom goes on with that when its run does."""
    state.held.pop(number, None)
    if event.resolution is not None:
        state.resolved[number] = Resolved(event.resolution, event.reason, Result(event.result, event.moved))
    if event.resolution == "succeeded":  # what its revert gets, should its scope have failed meanwhile
        state.results[number] = Result(event.result, event.moved)
    flowing.on_agenda(state, number, "Start", state.plan.nodes[number].lane)


_EFFECTS: Mapping[RequestKind, Callable[[State, int, facts.RequestAccepted], None]] = {
    "revert": _revert,
    "rerun": _rerun,
    "cancel": _cancel,
    "resolve": _resolve,
    "fork": _fork,
}


def _request_refused(state: State, number: int, event: facts.RequestRefused, name: str) -> None:
    state.answered[event.request] = None
    if event.kind == "signal":
        _unfit(state, event.request)


def _signal_received(state: State, number: int, event: facts.SignalReceived, name: str) -> None:
    state.answered[event.request] = None
    payload = Result(event.payload, event.moved)
    flowing.signal_came(state, event.name, Received(state.version, event.request, payload))


def _unfit(state: State, request: str) -> None:
    """A signal that had come turned out not to be what its wait wants: that goes on waiting (F4)."""
    for number, signal in state.offered.items():
        if signal.request == request:
            del state.offered[number]
            flowing.off_agenda(state, number)
            task = state.plan.nodes[number].task
            if task is not None and task.signal is not None:
                flowing.listen(state, number, task.signal.name)
            return


EVOLVERS: Evolvers = {
    facts.RequestAccepted: _request_accepted,
    facts.RequestRefused: _request_refused,
    facts.SignalReceived: _signal_received,
}
