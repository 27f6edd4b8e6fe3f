"""Along the tables: every move from one state to the next, and the error for one that is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowledger.core.state import State
from flowledger.core.states import RUN as RUN_TABLE
from flowledger.core.states import Table
from flowledger.events.errors import Nondeterminism
from flowledger.events.facts import Event

Evolver = Callable[[State, int, Any, str], None]  # the state, the node, the event, its trigger
Evolvers = Mapping[type[Event], Evolver]


def step(state: State, number: int, table: Table, name: str) -> None:
    """Move a node along its table."""
    states = state.states
    try:
        states[number] = table[states[number]][name]
    except KeyError:
        raise illegal(state, state.plan.nodes[number].path or "the run", states[number], name) from None


def step_run(state: State, name: str) -> None:
    """Move the run's status along its table."""
    after = RUN_TABLE[state.status].get(name)
    if after is None:
        raise illegal(state, "the run", state.status, name)
    state.status = after  # type: ignore[assignment]  # the table's words are RunStatus


def illegal(state: State, where: str, now: str, name: str) -> Nondeterminism:
    """The error for a trigger that is not in the table: it names atom, state and event."""
    return Nondeterminism(
        f"event {state.version}: {name} is not legal for {where} in state {now}", version=state.version
    )


def nothing(state: State, number: int, event: Event, name: str) -> None:
    """Kept for people; changes nothing."""
