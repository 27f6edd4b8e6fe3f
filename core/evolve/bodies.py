"""Bodies that run, wait and end, as the fold of attempts and reverts sees them."""

from __future__ import annotations

from flowledger.core import flowing
from flowledger.core.actions import Wait
from flowledger.core.state import State


def body_started(state: State, number: int, queue: str) -> None:
    """The body runs; with a ``queue``: workers have been asked for it there (C1)."""
    state.running.add(number)
    if queue:
        state.remote[number] = queue
    flowing.busier(state, state.plan.nodes[number].scope)


def body_ended(state: State, number: int) -> bool:
    """The body runs no more (a poll's was not counted as running). True if it was."""
    if number not in state.running:
        return False
    state.running.discard(number)
    if state.remote:
        state.remote.pop(number, None)
    return True


def settle_body(state: State, number: int, was_running: bool) -> None:
    """After all else an outcome does: its scopes have one body less, and may be drained by it."""
    if was_running:
        flowing.calmer(state, state.plan.nodes[number].scope)


def leave_wait(state: State, number: int) -> None:
    """The atom waits for nothing any more."""
    state.due.pop(number, None)
    waiting = state.waiting.get(state.plan.nodes[number].scope)
    if waiting is not None:
        waiting.discard(number)


def wait(state: State, number: int) -> None:
    """The atom waits for what `State.due` says of it."""
    scope = state.plan.nodes[number].scope
    if flowing.may_start(state, scope):
        state.waiting.setdefault(scope, set()).add(number)
    else:  # the scope began to drain while the body ran: what would wait ends at once (D1)
        flowing.end_waits(state, [number])


def try_again(state: State, number: int, until: int | None) -> None:
    """A failed attempt was not the last of its try: the next is due at ``until``, or at once."""
    if until is not None:
        state.due[number] = Wait(number, until, "backoff")
        wait(state, number)
        return
    node = state.plan.nodes[number]
    if flowing.may_start(state, node.scope):
        state.waiting.setdefault(node.scope, set()).add(number)
        flowing.on_agenda(state, number, "Start", node.lane)
    else:
        flowing.end_waits(state, [number])
