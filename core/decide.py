"""`decide`: what may be done now. A pure question to the state; it never calls user code (D8).

The fold keeps what is enabled up to date (`core.agenda`), so the answer costs what is asked for, not the size of the
plan. Capacity and merging pick from it; the engine performs an action and answers it with its event.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from flowledger.events import facts
from flowledger.events.facts import Event
from flowledger.events.failure import Failure

from .actions import Action, Wait
from .plan import RUN, Plan
from .state import State


def decide(plan: Plan, state: State, room: Callable[[str], int] | None = None) -> list[Action]:
    """The enabled actions in plan order; with ``room`` only the first ``room(lane)`` of each lane.

    Nothing is enabled in a run that is not RUNNING; one that is SUSPENDING may still end.
    """
    if state.status != "RUNNING":
        ends = state.status == "SUSPENDING" and state.agenda.kind(RUN) == "End"
        return [Action("End", RUN)] if ends else []
    return list(state.agenda) if room is None else state.agenda.first(room)


def waits(state: State) -> list[Wait]:
    """What the run waits for, by due time."""
    return sorted(state.due.values(), key=lambda wait: (wait.until_us, wait.node))


def wake_at_us(state: State) -> int | None:
    """The earliest due time: what the stream row carries as ``wake_at`` (A7). Nothing wakes a suspended run (G2)."""
    if not state.due or state.status == "SUSPENDED":
        return None
    return min(wait.until_us for wait in state.due.values())


def suspended(state: State) -> bool:
    """A run asked to suspend in which no body runs any more (G2)."""
    return state.status == "SUSPENDING" and not state.running


def held_paths(state: State) -> tuple[str, ...]:
    """The atoms that wait for a person's word, in plan order (G3)."""
    return tuple(state.plan.nodes[number].path for number in sorted(state.held))


def ending(plan: Plan, state: State) -> Event:
    """The consequence of `End` (D3, D5, G4)."""
    if state.broken:
        return facts.RunFailed(reason="revert_failed")
    if state.cancelled:
        return facts.RunCancelled(kept=state.cancelled == "keep")
    if state.states[RUN] == "REVERTING":
        return facts.RunReverted()
    return facts.RunSucceeded() if state.states[RUN] == "DONE" else facts.RunFailed(reason="stopped")


def round_failures(state: State, scope: int) -> tuple[Failure, ...]:
    """All failures of the scope's present round, in plan order: what its retry is asked about (D2).

    Without their tracebacks: these are in the log already, with each `TaskFailed`.
    """
    found: list[tuple[int, Failure]] = []
    stack = [scope]
    while stack:
        number = stack.pop()
        found += [(atom, state.failures[atom]) for atom in state.failed.get(number, ())]
        if number in state.retry_errors:
            found.append((number, state.retry_errors[number]))
        stack.extend(state.live_scopes.get(number, ()))
    place = state.plan.place
    return tuple(replace(failure, traceback="") for _, failure in sorted(found, key=lambda pair: place(pair[0])))


def is_final_failure(plan: Plan, state: State, number: int, failure: Failure) -> bool:
    """Whether a failed attempt was the last of its try. ``failure`` is not folded yet (D1, C9).

    What can never go better is final at once: arguments that do not convert, a result that cannot be stored, a passed
    deadline, poison, `Permanent`.
    """
    task = state.plan.nodes[number].task
    if task is None or failure.kind not in ("error", "timeout", "resource"):
        return True
    return state.failure_counts.get(number, 0) + 1 >= task.execute.attempts
