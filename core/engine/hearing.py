"""Waiting for a signal: no body runs, no thread is held (rules F3, F4)."""

from __future__ import annotations

from pydantic import ValidationError

from flowledger.core.plan import RUN, Listen, Node
from flowledger.core.state import Received
from flowledger.events import facts
from flowledger.events.failure import Failure

from .active import ActiveRun
from .settling import fail


def hear(run: ActiveRun, node: Node, signal: Listen) -> bool:
    """Begin to wait; or take what has come; or, with nothing to take, the time is over."""
    number, try_ = node.number, run.state.tries[node.number]
    if run.state.states[number] != "WAITING":
        until = None
        if signal.timeout_s is not None:
            until = run.services.clock.now_us() + round(signal.timeout_s * 1e6)
        run.draft(number, facts.TaskWaiting(try_=try_, attempt=0, until=until, polls=0, signal=signal.name))
        return True
    received = run.state.offered.get(number)
    if received is None:
        message = f"no signal {signal.name} within {signal.timeout_s:g} s"
        fail(run, node, Failure(path=node.path, type="TimeoutError", message=message, kind="timeout"), final=True)
    else:
        _take(run, node, received)
    return True


def _take(run: ActiveRun, node: Node, received: Received) -> None:
    """The wait succeeds with the signal's payload; one that does not fit is refused, and the wait goes on."""
    payload = received.payload
    content = bytes(payload.content) if payload.moved is None else run.vault.opened(run.moved[payload.moved])
    assert node.task is not None
    try:
        node.task.result.load(content)
    except ValidationError as error:
        why = f"it does not fit what {node.path} waits for: {error.errors()[0]['msg']}"
        run.draft(RUN, facts.RequestRefused(request=received.request, kind="signal", why=why))
        return
    succeeded = facts.TaskSucceeded(
        try_=run.state.tries[node.number], attempt=0, result=payload.content, moved=payload.moved,
        signal=received.version,
    )  # fmt: skip
    run.draft(node.number, succeeded)
