"""Starting bodies: tasks, sleeps, and polls that are due again (rules C1, C6, F2, F3)."""

from __future__ import annotations

from flowledger.core.actions import Action
from flowledger.core.plan import Node, Pause, TaskSpec
from flowledger.core.state import Resolved
from flowledger.events import facts
from flowledger.events.failure import Failure, FailureKind

from .active import ActiveRun
from .attempting import fail_before_body, fit, next_attempt, task_of
from .hearing import hear
from .settling import fail, is_poison


def start(run: ActiveRun, action: Action) -> bool:
    """Start the atom's body, or say why it cannot be started; False while it has to wait."""
    state, node = run.state, run.plan.nodes[action.node]
    task = task_of(node)
    if task.pause is not None:
        return _sleep(run, node, task.pause)
    if task.signal is not None:
        return hear(run, node, task.signal)
    if state.states[node.number] == "INTERRUPTED" and _is_not_run_again(run, node, task):
        return True
    if not fit(run, node, node.arguments, node.lane):
        return node.number in run.unfit and fail_before_body(run, node, run.unfit.pop(node.number))
    in_hand = node.lane != "inline" and not may_stand_in_line(run, node, task)
    if not run.take_slot(node.lane, in_hand=in_hand):
        return False
    attempt = next_attempt(run, node, "execute", task.execute, node.arguments)
    if attempt is None:
        run.slots(node.lane).give()
        return True
    event = facts.TaskStarted(
        try_=attempt.try_,
        attempt=attempt.attempt,
        key=attempt.key,
        code=task.code_version,
        inputs=run.values.digest(node) if node.arguments else "",
        queue=task.queue if node.lane == "workers" else "",
    )
    run.draft(node.number, event)
    run.start_when_durable(attempt)
    return True


def may_stand_in_line(run: ActiveRun, node: Node, task: TaskSpec) -> bool:
    """Whether the body may be started before its place is free (C1).

    Not one with a limit on its time, which would run; not one that a person has to look at after a crash; and nobody is
    blamed twice for a process that was lost while it stood in line (C6).
    """
    return (
        task.on_interrupt == "rerun"
        and task.deadline_s is None
        and task.execute.timeout_s is None
        and node.number not in run.state.interruptions
    )


def _sleep(run: ActiveRun, node: Node, pause: Pause) -> bool:
    """A sleep begins with its due time, and is done when its timer has fired: no body runs (F3)."""
    try_ = run.state.tries[node.number]
    if run.state.states[node.number] == "WAITING":
        run.draft(node.number, facts.TaskSucceeded(try_=try_, attempt=0))
        return True
    until = pause.until_us
    if until is None:
        until = run.services.clock.now_us() + round((pause.seconds or 0.0) * 1e6)
    run.draft(node.number, facts.TaskWaiting(try_=try_, attempt=0, until=until, polls=0))
    return True


def _is_not_run_again(run: ActiveRun, node: Node, task: TaskSpec) -> bool:
    """An interrupted atom: a person or the task says what becomes of it, or it has lost too many processes (C6, G3)."""
    number = node.number
    said = run.state.resolved.get(number)
    if said is not None and said.resolution != "rerun":
        _as_said(run, node, said)
        return True
    count = run.state.interruptions.get(number, 0)
    parked = is_poison(task, count)
    if not parked and (task.on_interrupt == "rerun" or said is not None):
        return False
    if not parked and task.on_interrupt == "hold":
        lost = f"the process running it was lost {count} time(s) in this try; its effect is unknown"
        run.draft(number, facts.TaskHeld(try_=run.state.tries[number], attempt=run.state.attempts[number], reason=lost))
        return True
    kind: FailureKind = "poison" if parked else "interrupted"
    message = f"the process running it was lost {count} time(s) in this try; its effect is unknown"
    fail(run, node, Failure(path=node.path, type="Interrupted", message=message, kind=kind), final=True)
    return True


def _as_said(run: ActiveRun, node: Node, said: Resolved) -> None:
    """A person has said how the attempt ended (G3)."""
    number, try_ = node.number, run.state.tries[node.number]
    attempt = run.state.attempts[number]
    if said.resolution == "succeeded":
        result, moved = said.result.content, said.result.moved
        run.draft(number, facts.TaskSucceeded(try_=try_, attempt=attempt, result=result, moved=moved))
        return
    failure = Failure(path=node.path, type="Held", message=said.reason, kind="resolved", attempt=attempt)
    fail(run, node, failure, final=True, attempt=attempt)


# -- polls --------------------------------------------------------------------------------------


def poll(run: ActiveRun) -> None:
    """Call waiting polls that are due again: the same attempt goes on, without an event (F2)."""
    for number in sorted(run.polls_due):
        wait = run.state.due.get(number)
        if wait is None or wait.why != "poll" or number in run.live:
            run.polls_due.pop(number, None)
            continue
        node = run.plan.nodes[number]
        limit = run.deadline_us(node)
        if limit is not None and run.services.clock.now_us() >= limit:
            run.polls_due.pop(number, None)
            fail(run, node, _overdue(node, run), final=True)
        elif fit(run, node, node.arguments, node.lane) and run.take_slot(node.lane, in_hand=True):
            run.polls_due.pop(number, None)
            _poll_again(run, node)
        elif number in run.unfit:
            run.polls_due.pop(number, None)
            fail_before_body(run, node, run.unfit.pop(number))


def _poll_again(run: ActiveRun, node: Node) -> None:
    attempt = next_attempt(run, node, "execute", task_of(node).execute, node.arguments, goes_on=True)
    if attempt is None:
        run.slots(node.lane).give()
        return
    attempt.poll_us = run.services.clock.now_us()
    run.start_when_durable(attempt)


def _overdue(node: Node, run: ActiveRun) -> Failure:
    polls = run.poll_counts.get(node.number, run.state.polls.get(node.number, 0))
    message = f"not ready after {polls} polls: the deadline of {task_of(node).deadline_s:g} s is over"
    return Failure(
        path=node.path, type="TimeoutError", message=message, kind="deadline", attempt=run.state.attempts[node.number]
    )
