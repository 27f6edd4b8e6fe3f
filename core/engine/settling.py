"""Outcomes to events: what a body ended with, and what that means for its atom (C4–C9, F2)."""

from __future__ import annotations

from flowledger.core import decide as deciding
from flowledger.core.flowing import may_start
from flowledger.core.plan import Node, TaskSpec
from flowledger.events import facts
from flowledger.events.failure import Failure

from .active import ActiveRun
from .attempt import Attempt, Executor, Held, Lost, Outcome, Raised, Returned, Unready, Unsettled
from .outcomes import read_outcome
from .transacting import TransactionalAttempt

POLL_LOG_US = 60_000_000  # a poll is written down when it begins to wait, then at most once a minute (F2)
GRACE_S = 30.0  # what a thread that has seen its flag may still take (C7)


def settle(run: ActiveRun, attempt: Attempt, outcome: Outcome) -> None:
    """Turn an outcome into its event."""
    number = attempt.node.number
    if run.live.get(number) is not attempt:
        ignore(run, attempt, outcome)
        return
    del run.live[number]
    if isinstance(outcome, Raised) and outcome.exception is not None:
        run.exceptions[attempt.node.path] = outcome.exception
    if attempt.phase == "revert":
        _settle_revert(run, attempt, outcome)
    elif run.state.states[number] not in ("RUNNING", "WAITING"):
        ignore(run, attempt, outcome)  # a poll whose scope drained while its body ran
    else:
        _settle_execute(run, attempt, outcome)


def ignore(run: ActiveRun, attempt: Attempt, outcome: Outcome) -> None:
    """Record an outcome that has no effect (C4)."""
    if isinstance(outcome, Unready | Lost | Unsettled):
        return
    late = attempt.phase == "execute"
    result = facts.Raw(outcome.content) if late and isinstance(outcome, Returned) else facts.NULL
    event = facts.OutcomeIgnored(
        try_=attempt.try_,
        attempt=attempt.attempt,
        phase=attempt.phase,
        outcome="succeeded" if isinstance(outcome, Returned) else "failed",
        result=result,
        failure=outcome.failure if late and isinstance(outcome, Raised) else None,
        worker=run.worker,
    )
    run.draft(attempt.node.number, event)


def _settle_execute(run: ActiveRun, attempt: Attempt, outcome: Outcome) -> None:
    node = attempt.node
    match outcome:
        case Returned():
            succeed(run, node.number, outcome.content, try_=attempt.try_, attempt=attempt.attempt)
        case Raised():
            final = not outcome.again or deciding.is_final_failure(run.plan, run.state, node.number, outcome.failure)
            fail(run, node, outcome.failure, final=final, attempt=attempt.attempt, still_running=outcome.still_running)
        case Unready():
            _wait(run, attempt, outcome)
        case Held():
            _hold(run, attempt, outcome)
        case Lost():
            interrupt(run, attempt, outcome.cause)
        case Unsettled():
            pass  # the run is lost to this process


def is_poison(task: TaskSpec, lost: int) -> bool:
    """Whether a task that has lost so many processes in this try is not made once more (C6, D5).

    What a child run has done is never unknown: whoever looks next finds it (G7).
    """
    return lost >= task.losses and not task.child


def interrupt(run: ActiveRun, attempt: Attempt, cause: str) -> None:
    """Record that whoever made the attempt is gone (C3, C6)."""
    event = facts.TaskInterrupted(try_=attempt.try_, attempt=attempt.attempt, phase=attempt.phase, cause=cause)
    run.draft(attempt.node.number, event)


def _hold(run: ActiveRun, attempt: Attempt, outcome: Held) -> None:
    """The body leaves it to a person (G3). Where its scope fails anyway, that it did not finish is all there is."""
    number = attempt.node.number
    if may_start(run.state, attempt.node.scope):
        held = facts.TaskHeld(try_=attempt.try_, attempt=attempt.attempt, reason=outcome.failure.message)
        run.draft(number, held)
    else:
        fail(run, attempt.node, outcome.failure, final=True, attempt=attempt.attempt)


def committed(run: ActiveRun, node: Node, content: bytes) -> None:
    """Record an outcome that was found in the store (C8)."""
    content = read_outcome(run.vault, node, content)
    state, number = run.state, node.number
    if state.states[number] == "REVERTING":
        event = facts.TaskReverted(try_=state.tries[number], attempt=state.revert_attempts[number])
        run.draft(number, event)
    else:
        succeed(run, number, content, try_=state.tries[number], attempt=state.attempts[number])


def succeed(run: ActiveRun, number: int, content: bytes, *, try_: int, attempt: int) -> None:
    """Record a result."""
    event = facts.TaskSucceeded(
        try_=try_,
        attempt=attempt,
        result=facts.NULL if content == b"null" else facts.Raw(content),
        polls=_polls(run, number) if run.poll_counts or run.state.polls else 0,
        progress=run.said.pop(number, None) if run.said else None,
        worker=run.worker,
    )
    run.draft(number, event)


def _polls(run: ActiveRun, number: int) -> int:
    """How often the body was called, for one that polled; 0 for one that did not."""
    counted = run.poll_counts.pop(number, run.state.polls.get(number, 0))
    return counted + 1 if counted else 0


def _wait(run: ActiveRun, attempt: Attempt, outcome: Unready) -> None:
    state, number = run.state, attempt.node.number
    now = run.services.clock.now_us()
    wait_s = 0.0 if number in run.woken else outcome.retry_after_s
    run.woken.pop(number, None)
    until = now + round(max(0.0, wait_s) * 1e6)
    limit = run.deadline_us(attempt.node)
    if limit is not None:
        until = min(until, max(limit, now))
    logged = state.polls.get(number, 0)
    # a count from an earlier attempt does not go on: the log knows what that one came to
    polls = (logged if state.states[number] == "RUNNING" else run.poll_counts.get(number, logged)) + 1
    run.poll_counts[number] = polls
    wait = state.due.get(number)
    if wait is not None and state.states[number] == "WAITING":
        # an owner that is gone may have written it a moment ago: count from now
        logged_us = run.poll_logged_us.setdefault(number, now)
        if now - logged_us < POLL_LOG_US:
            run.set_timer(wait, at_us=until)
            return
    run.poll_logged_us[number] = now
    event = facts.TaskWaiting(
        try_=attempt.try_, attempt=attempt.attempt, until=until, polls=polls, message=outcome.message[:200],
        child=outcome.child,
    )  # fmt: skip
    run.draft(number, event)


def fail(
    run: ActiveRun, node: Node, failure: Failure, *, final: bool, attempt: int = 0, still_running: bool = False
) -> None:
    """Record a failed attempt: the end of the try, or another attempt after the back-off."""
    state, number = run.state, node.number
    until: int | None = None
    if not final and node.task is not None:
        until = _again_at(run, node.task.execute.backoff.delay_s(
            state.failure_counts.get(number, 0) + 1, run.services.ids.random()
        ))  # fmt: skip
        limit = run.deadline_us(node)
        now = run.services.clock.now_us()
        final = limit is not None and (until or now) >= limit
    event = facts.TaskFailed(
        try_=state.tries[number],
        attempt=attempt,
        failure=failure,
        again=not final,
        until=None if final else until,
        polls=_polls(run, number),
        still_running=still_running,
        progress=run.said.pop(number, None),
        worker=run.worker,
    )
    run.draft(number, event)


def _again_at(run: ActiveRun, delay_s: float) -> int | None:
    return run.services.clock.now_us() + round(delay_s * 1e6) if delay_s > 0 else None


def _settle_revert(run: ActiveRun, attempt: Attempt, outcome: Outcome) -> None:
    if isinstance(outcome, Returned):
        event = facts.TaskReverted(try_=attempt.try_, attempt=attempt.attempt, worker=run.worker)
        run.draft(attempt.node.number, event)
    elif isinstance(outcome, Raised):
        final = None if outcome.again else True
        fail_revert(run, attempt.node, outcome.failure, attempt=attempt.attempt, final=final)
    elif isinstance(outcome, Lost):
        interrupt(run, attempt, outcome.cause)


def fail_revert(run: ActiveRun, node: Node, failure: Failure, *, attempt: int, final: bool | None = None) -> None:
    """Record a failed revert; ``final`` None: as its own attempts say (D5)."""
    state, number = run.state, node.number
    call = node.task.revert if node.task is not None else None
    failures = state.revert_failures.get(number, 0) + 1
    if final is None:
        final = call is None or failures >= call.attempts
    until = None
    if not final and call is not None:
        until = _again_at(run, call.backoff.delay_s(failures, run.services.ids.random()))
    event = facts.RevertFailed(
        try_=state.tries[number], attempt=attempt, failure=failure, again=not final, until=until,
        worker=run.worker,
    )  # fmt: skip
    run.draft(number, event)


# -- limits -------------------------------------------------------------------------------------


def watch(run: ActiveRun, attempt: Attempt, executor: Executor) -> None:
    """Set the attempt's time limit: what is shorter of its timeout and what is left of the deadline (C7)."""
    limits = [] if attempt.timeout_s is None else [attempt.timeout_s]
    if attempt.deadline_us is not None:
        limits.append(max(0.0, (attempt.deadline_us - run.services.clock.now_us()) / 1e6))
    if limits:
        attempt.limit = run.services.loop.call_later(min(limits), _time_out, run, attempt, executor)


def _time_out(run: ActiveRun, attempt: Attempt, executor: Executor) -> None:
    if run.lost or run.live.get(attempt.node.number) is not attempt:
        return
    attempt.timed_out = True
    executor.cancel(attempt)
    if isinstance(attempt, TransactionalAttempt):
        attempt.limit = None
        run.declare_lost(attempt)
        return
    attempt.limit = run.services.loop.call_later(GRACE_S, _give_up, run, attempt)


def _give_up(run: ActiveRun, attempt: Attempt) -> None:
    """A thread that went on through its grace: the attempt is over, whatever it still does."""
    if not run.lost and run.live.get(attempt.node.number) is attempt:
        run.outcome(attempt, attempt.overdue(still_running=True))
