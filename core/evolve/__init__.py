"""`evolve`: the fold. One function per event, each touching the node, its neighbours and the scopes around it.

The state is changed in place (a copy per event would make a run quadratic), but only here, and only by events: same
plan, same events, same state. Which of the events are *due* is `decide`'s business; here an event that its atom, scope
or run cannot take in its present state is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowledger.core.inheriting import Had
from flowledger.core.plan import Plan
from flowledger.core.state import State
from flowledger.core.states import PLAIN, trigger
from flowledger.core.vault import Vault
from flowledger.events.envelope import Envelope
from flowledger.events.errors import Nondeterminism
from flowledger.events.facts import Event

from . import attempts, branches, expansions, forks, requests, reverts, run, scopes
from .reverts import ended
from .stepping import Evolver

__all__ = ["apply", "ended", "evolve", "fold"]

_ALL: dict[type[Event], Evolver] = {
    **run.EVOLVERS, **forks.EVOLVERS, **requests.EVOLVERS, **scopes.EVOLVERS, **branches.EVOLVERS,
    **expansions.EVOLVERS, **attempts.EVOLVERS, **reverts.EVOLVERS,
}  # fmt: skip
#: With the trigger, where the class alone tells it.
_EVOLVERS = {cls: (evolver, PLAIN.get(cls)) for cls, evolver in _ALL.items()}


def fold(
    plan: Plan, envelopes: Iterable[Envelope], moved: Mapping[str, bytes] | None = None, *, taken: Had | None = None,
    vault: Vault | None = None,
) -> State:  # fmt: skip
    """The state that a log leads to. ``moved``: contents of payload rows by digest, for the lists of expansions;
    ``taken``: what its source had, of a fork (G6)."""
    state = State(plan, moved, vault)
    state.taken = taken
    by_path = state.plan.by_path
    for envelope in envelopes:
        number = by_path.get(envelope.path)
        if number is None:
            raise _nowhere(envelope)
        evolve(state, number, envelope.event, envelope.time_us)
    return state


def apply(state: State, envelope: Envelope) -> None:
    """`evolve` with an envelope as it was read.

    Raises:
        Nondeterminism: the event speaks of a path the plan does not have, or is not legal there.
    """
    number = state.plan.by_path.get(envelope.path)
    if number is None:
        raise _nowhere(envelope)
    evolve(state, number, envelope.event, envelope.time_us)


def _nowhere(envelope: Envelope) -> Nondeterminism:
    return Nondeterminism(
        f"event {envelope.version} {envelope.type}: the plan has no {envelope.path!r}", version=envelope.version
    )


def evolve(state: State, number: int, event: Event, time_us: int) -> None:
    """Fold one event that happened to node ``number`` at ``time_us``.

    Raises:
        Nondeterminism: it is not legal in the node's present state.
    """
    state.version += 1
    state.time_us = time_us
    evolver, name = _EVOLVERS[type(event)]
    evolver(state, number, event, name or trigger(event))
