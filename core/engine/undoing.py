"""Calling reverts (rules D4, D5)."""

from __future__ import annotations

from flowledger.core.actions import Action
from flowledger.core.plan import Call, Node
from flowledger.core.undoing import revert_lane
from flowledger.events import facts
from flowledger.events.failure import Failure

from .active import ActiveRun
from .attempting import drained_poll_runs, fit, next_attempt, task_of
from .settling import fail_revert, is_poison


def revert(run: ActiveRun, action: Action) -> bool:
    """Call the atom's revert; one without is undone at once."""
    state, node = run.state, run.plan.nodes[action.node]
    call = task_of(node).revert
    if drained_poll_runs(run):
        return False
    if call is None:
        run.draft(node.number, facts.TaskReverted(try_=state.tries[node.number], attempt=0))
        return True
    lost = state.revert_interruptions.get(node.number, 0)
    if is_poison(task_of(node), lost):
        message = f"the process reverting it was lost {lost} time(s)"
        failure = Failure(path=node.path, type="Interrupted", message=message, kind="poison")
        fail_revert(run, node, failure, attempt=state.revert_attempts.get(node.number, 0), final=True)
        return True
    return _call_revert(run, node, call)


def _call_revert(run: ActiveRun, node: Node, call: Call) -> bool:
    if not fit(run, node, node.revert_arguments, revert_lane(node)):
        if node.number not in run.unfit:
            return False
        failure = run.unfit.pop(node.number)
        fail_revert(run, node, failure, attempt=run.state.revert_attempts.get(node.number, 0) + 1)
        return True
    lane = revert_lane(node)
    if not run.take_slot(lane, in_hand=True):
        return False
    attempt = next_attempt(run, node, "revert", call, node.revert_arguments)
    if attempt is None:
        run.slots(lane).give()
        return True
    started = facts.RevertStarted(
        try_=attempt.try_,
        attempt=attempt.attempt,
        key=attempt.key,
        queue=task_of(node).queue if lane == "workers" else "",
    )
    run.draft(node.number, started)
    run.start_when_durable(attempt)
    return True
