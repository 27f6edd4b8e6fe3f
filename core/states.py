"""The state machines of atoms, scopes and runs: literal tables, and the theory behind them.

Theory of operation
-------------------
State is nothing but the fold of events. Each event is a *trigger*; where one class of event can lead to two states, the
trigger says which (`TaskFailed` ends the try, `TaskFailedAgain` leaves another attempt). A pair that is not in a table
is illegal and is an error that names atom, state and event: nothing is ignored.

Some triggers are no events of their own but follow, in the fold, from an event next door; they are in lower case:

- ``drained``    the atom waited (back-off, poll, signal) when its scope began to drain: it ends at once (D1)
- ``failing``    something in the scope failed for good (D1)
- ``done``       all children of the scope are done
- ``reset``      a scope further out was reset (D6: an outer retry starts inner ones afresh)
- ``inherited``  a fork has taken it over from its source (G6)
- ``reopened``   a person asked for the revert or the rerun of a final run (G5), or cancelled one about to end (G4)
- ``held``       a person must say what became of an attempt: the run is to be suspended (G3)

Rules
-----
1. Everything that moves an atom, a scope or a run from one state to another is in this file.
2. A body runs only in RUNNING and REVERTING, or, between two lines of the log, while an atom polls in WAITING (F2).
3. An atom is *standing* from its first TaskStarted of a try until TaskReverted: what stands must be undone (D4, C9).
4. A scope's atoms start only while the scope and every scope around it is RUNNING (D1).
5. The retry atom's state is its scope's; the run itself is the outermost scope, and asks `on_failure` (D3).

Automat declares machines from these tables (`core.machine`: diagram, legality); the fold uses the tables directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flowledger.events import facts
from flowledger.events.facts import Event

AtomState = Literal[
    "PENDING",
    "RUNNING",
    "WAITING",
    "INTERRUPTED",
    "SUCCEEDED",
    "FAILED",
    "SKIPPED",
    "REVERTING",
    "REVERTED",
    "REVERT_FAILED",
]
ScopeState = Literal["PENDING", "RUNNING", "DRAINING", "ASKED", "REVERTING", "WAITING", "DONE", "GAVE_UP"]
Table = Mapping[str, Mapping[str, str]]

# What may become of an atom whose body has run and that is not reverting: the same from five states.
_UNDO = {"RevertStarted": "REVERTING", "TaskReverted": "REVERTED"}

ATOM: Table = {
    "PENDING": {
        "inherited": "SUCCEEDED",
        "TaskStarted": "RUNNING",
        "TaskFailed": "FAILED",  # before its body ran (C9): arguments, resource
        "TaskFailedAgain": "WAITING",
        "TaskWaiting": "WAITING",  # sleep, signal
        "BranchErred": "FAILED",
        "TaskSkipped": "SKIPPED",
        "reset": "PENDING",
    },
    "RUNNING": {
        "TaskSucceeded": "SUCCEEDED",
        "TaskFailed": "FAILED",
        "TaskFailedAgain": "WAITING",  # back-off (also one of no length)
        "TaskWaiting": "WAITING",  # poll
        "TaskInterrupted": "INTERRUPTED",
        "TaskHeld": "INTERRUPTED",  # the body raised Hold
    },
    "WAITING": {
        "TaskStarted": "RUNNING",  # the back-off is over
        "TaskSucceeded": "SUCCEEDED",  # the poll was answered, the signal came
        "TaskFailed": "FAILED",  # the poll failed, the deadline passed, no signal came in time
        "TaskHeld": "INTERRUPTED",
        "TaskFailedAgain": "WAITING",
        "TaskWaiting": "WAITING",  # still polling, said at most once a minute
        "TimerFired": "WAITING",
        "drained": "INTERRUPTED",
        "reset": "PENDING",  # it failed again before its body ever ran
    },
    "INTERRUPTED": {
        "TaskStarted": "RUNNING",
        "TaskHeld": "INTERRUPTED",  # on_interrupt="hold"
        "TaskFailed": "FAILED",  # on_interrupt="fail", poison (C6), or a person says so
        "TaskSucceeded": "SUCCEEDED",  # a person says so (G3)
        "TaskFailedAgain": "WAITING",
        "reset": "PENDING",
        **_UNDO,
    },
    "SUCCEEDED": {"reset": "PENDING", **_UNDO},  # reset: a sleep, which has nothing to undo
    "FAILED": {"reset": "PENDING", **_UNDO},
    "SKIPPED": {"reset": "PENDING"},
    "REVERTING": {
        "RevertStarted": "REVERTING",  # the next attempt
        "TaskReverted": "REVERTED",
        "RevertFailed": "REVERT_FAILED",
        "RevertFailedAgain": "REVERTING",
        "TaskInterrupted": "REVERTING",
        "TimerFired": "REVERTING",
    },
    "REVERTED": {"reset": "PENDING"},
    "REVERT_FAILED": {"RevertStarted": "REVERTING", "reset": "PENDING"},  # a person asked again (D5, G5)
}

SCOPE: Table = {
    "PENDING": {"inherited": "DONE", "RoundStarted": "RUNNING", "RetryErred": "GAVE_UP", "reset": "PENDING"},
    "RUNNING": {"failing": "DRAINING", "done": "DONE", "reset": "PENDING"},
    "DRAINING": {
        "RetryDecidedRetry": "ASKED",
        "RetryDecidedRevert": "GAVE_UP",
        "RetryErred": "GAVE_UP",
        "reset": "PENDING",
    },
    "ASKED": {"ScopeReverting": "REVERTING", "reset": "PENDING"},
    "REVERTING": {"ScopeReset": "WAITING", "reset": "PENDING"},
    "WAITING": {"RoundStarted": "RUNNING", "TimerFired": "WAITING", "RetryErred": "GAVE_UP", "reset": "PENDING"},
    "DONE": {"reset": "PENDING"},
    "GAVE_UP": {"reset": "PENDING"},
}

# The run as the outermost scope: it is not asked by an event but by its on_failure, so RUNNING → DRAINING → REVERTING.
RUN_SCOPE: Table = {
    "PENDING": {"RunStarted": "RUNNING"},
    "RUNNING": {"failing": "DRAINING", "done": "DONE"},
    "DRAINING": {"ScopeReverting": "REVERTING", "reopened": "ASKED"},
    "DONE": {"reopened": "ASKED"},
    # reset: a rerun with nothing to undo; reopened: what was given up, all of it kept, before such a rerun went forward
    "ASKED": {"ScopeReverting": "REVERTING", "ScopeReset": "RUNNING", "reopened": "ASKED"},
    "REVERTING": {"reopened": "ASKED", "ScopeReset": "RUNNING"},  # reset: a rerun goes forward
}

# What a person may ask of a run that is over, beside a revert. A fork that adopts what it did leaves it as it is (G6).
_RERUN = {"RequestAcceptedRerun": "RUNNING"}
#: The events that end a run, and as what.
ENDS = {"RunSucceeded": "SUCCEEDED", "RunReverted": "REVERTED", "RunFailed": "FAILED", "RunCancelled": "CANCELLED"}

RUN: Table = {
    "PENDING": {
        "RunSubmitted": "PENDING",
        "RunForked": "PENDING",
        "RunStarted": "RUNNING",
        "RunSuspended": "SUSPENDED",
    },
    "RUNNING": {
        "RequestAcceptedSuspend": "SUSPENDING",
        "RequestAcceptedCancel": "RUNNING",
        "held": "SUSPENDING",
        **ENDS,
    },
    "SUSPENDING": {
        "RequestAcceptedResume": "SUSPENDING",
        "RequestAcceptedCancel": "SUSPENDING",
        "RequestAcceptedResolve": "SUSPENDING",
        "held": "SUSPENDING",
        "RunSuspended": "SUSPENDED",
        "RunResumed": "RUNNING",
        **ENDS,  # nothing was left to suspend
    },
    "SUSPENDED": {
        "RequestAcceptedResume": "SUSPENDED",
        "RequestAcceptedCancel": "SUSPENDED",
        "RequestAcceptedResolve": "SUSPENDED",
        "RunResumed": "RUNNING",
    },
    "SUCCEEDED": {"RequestAcceptedRevert": "RUNNING", **_RERUN, "RequestAcceptedFork": "SUCCEEDED"},
    "FAILED": {"RequestAcceptedRevert": "RUNNING", **_RERUN, "RequestAcceptedFork": "FAILED"},
    "REVERTED": {**_RERUN, "RequestAcceptedFork": "REVERTED"},
    "CANCELLED": {"RequestAcceptedRevert": "RUNNING", **_RERUN, "RequestAcceptedFork": "CANCELLED"},
}


_TELLING = (facts.TaskFailed, facts.RevertFailed, facts.RetryDecided, facts.RequestAccepted)

#: The events whose class alone is their trigger.
PLAIN: dict[type[Event], str] = {cls: cls.__name__ for cls in facts.EVENTS if cls not in _TELLING}


def trigger(event: Event) -> str:
    """The name under which the tables know this event."""
    match event:
        case facts.TaskFailed(again=True) | facts.RevertFailed(again=True):
            return f"{type(event).__name__}Again"
        case facts.RetryDecided(error=error, decision=decision):
            if error is not None:
                return "RetryErred"
            return "RetryDecidedRetry" if decision == "RETRY" else "RetryDecidedRevert"
        case facts.RequestAccepted(kind=kind):
            return f"RequestAccepted{kind.capitalize()}"
        case _:
            return type(event).__name__
