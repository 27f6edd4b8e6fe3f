"""Actions to events: what `decide` enables is performed, each action answered with its consequence (D8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flowledger.core import decide as deciding
from flowledger.core.actions import Action
from flowledger.core.agenda import CONTROL
from flowledger.core.branching import WIDTH
from flowledger.core.plan import RUN, Binding, Call, FromResource, Node, Pause, TaskSpec
from flowledger.core.retry import Retry, Try
from flowledger.core.typed import typed
from flowledger.core.undoing import revert_lane
from flowledger.core.values import key_of
from flowledger.events import facts
from flowledger.events.facts import Phase
from flowledger.events.failure import Failure, FailureKind

from .active import ActiveRun
from .attempt import Attempt, failure_of
from .settling import fail, fail_revert

MAX_INTERRUPTIONS = 3  # C6, D5


def perform_all(run: ActiveRun) -> None:
    """Perform what is enabled and has room, always the first in plan order, until nothing more can be performed.

    An inline body has the loop to itself, so it also has the log to itself: nothing else is performed until it has
    ended. Thus the log of an inline run is the one that its states alone determine, also after a crash (D8).
    """
    if run.polls_due and run.state.status == "RUNNING":
        _poll(run)
    agenda = run.state.agenda
    while len(agenda) and run.room("inline") and (_perform(run, run.room) or _perform(run, _room_for_all(run))):
        pass


def _perform(run: ActiveRun, room: Callable[[str], int]) -> bool:
    """Perform the first enabled actions, up to one that may have enabled others; False if none could be performed.

    What an action enables may come before what was enabled already, so `decide` is asked again after each that does
    more than start a body. Otherwise the order in the log would depend on where a turn began.
    """
    performed = False
    for action in deciding.decide(run.plan, run.state, room):
        if _PERFORM[action.kind](run, action):
            performed = True
            if action.node not in run.live or not run.room("inline"):
                break
    return performed


def _room_for_all(run: ActiveRun) -> Callable[[str], int]:
    """For when the first of the control lane must wait, for a poll that drained while its body runs."""
    return lambda lane: len(run.state.agenda) if lane == CONTROL else run.room(lane)


def _start(run: ActiveRun, action: Action) -> bool:
    state, node = run.state, run.plan.nodes[action.node]
    task = _task(node)
    if task.pause is not None:
        return _sleep(run, node, task.pause)
    if state.states[node.number] == "INTERRUPTED" and _is_blamed(run, node, task):
        return True
    if not _fit(run, node, node.arguments):
        return node.number in run.unfit and _fail_before_body(run, node, run.unfit.pop(node.number))
    slots = run.slots(node.lane)
    if not slots.take():
        return False
    attempt = _attempt(run, node, "execute", task.execute, node.arguments)
    if attempt is None:
        slots.give()
        return True
    event = facts.TaskStarted(
        try_=attempt.try_,
        attempt=attempt.attempt,
        key=attempt.key,
        code=task.code_version,
        inputs=run.values.digest(node),
    )
    run.draft(node.number, event)
    run.start_when_durable(attempt)
    return True


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


def _is_blamed(run: ActiveRun, node: Node, task: TaskSpec) -> bool:
    """An interrupted atom that is not run again: the task says so, or it has lost three processes (C6)."""
    number = node.number
    count = run.state.interruptions.get(number, 0)
    if task.on_interrupt == "rerun" and count < MAX_INTERRUPTIONS:
        return False
    kind: FailureKind = "poison" if count >= MAX_INTERRUPTIONS else "interrupted"
    message = f"the process running it was lost {count} time(s) in this try; its effect is unknown"
    fail(run, node, Failure(path=node.path, type="Interrupted", message=message, kind=kind), final=True)
    return True


def _fit(run: ActiveRun, node: Node, bindings: Sequence[Binding]) -> bool:
    """Whether the atom's resources are there; if not, they are on their way (or could not be made: ``run.unfit``)."""
    names = [binding.name for binding in bindings if isinstance(binding, FromResource)]
    if not names or run.services.resources.has(names, run.run_id):
        return True
    if node.number not in run.unfit:
        run.acquire(node, names)
    return False


def _fail_before_body(run: ActiveRun, node: Node, failure: Failure) -> bool:
    if run.plan.nodes[node.number].task is not None:
        fail(run, node, failure, final=deciding.is_final_failure(run.plan, run.state, node.number, failure))
    return True


def _attempt(
    run: ActiveRun, node: Node, phase: Phase, call: Call, bindings: tuple[Binding, ...], *, goes_on: bool = False
) -> Attempt | None:
    """The next attempt (``goes_on``: the present one), with its arguments; None if they could not be made, which has
    been recorded."""
    state, number = run.state, node.number
    count = state.attempts[number] if phase == "execute" else state.revert_attempts.get(number, 0)
    key = key_of(run.run_id, state, node, phase)
    attempt = Attempt(run, node, phase, call, state.tries[number], count if goes_on else count + 1, key)
    return attempt if _has_arguments(run, attempt, bindings) else None


def _has_arguments(run: ActiveRun, attempt: Attempt, bindings: tuple[Binding, ...]) -> bool:
    node = attempt.node
    if not bindings:
        return True
    outcome = None
    if attempt.phase == "revert":
        scope = run.state.revert_scope.get(node.number, RUN)
        outcome = run.values.outcome_of(node, lambda: deciding.round_failures(run.state, scope))
    try:
        attempt.arguments = run.values.arguments(bindings, lambda: attempt.context, outcome)
    except Exception as error:  # noqa: BLE001 - any user type's validator (D7)
        run.exceptions[node.path] = error
        failure = failure_of(error, path=node.path, kind="arguments")
        if attempt.phase == "execute":
            fail(run, node, failure, final=True)
        else:
            fail_revert(run, node, failure, attempt=attempt.attempt, final=True)
        return False
    return True


# -- polls --------------------------------------------------------------------------------------


def _poll(run: ActiveRun) -> None:
    """Call waiting polls that are due again: the same attempt goes on, without an event (F2)."""
    for number in sorted(run.polls_due):
        wait = run.state.due.get(number)
        if wait is None or wait.why != "poll" or number in run.live:
            run.polls_due.discard(number)
            continue
        node = run.plan.nodes[number]
        limit = run.deadline_us(node)
        if limit is not None and run.services.clock.now_us() >= limit:
            run.polls_due.discard(number)
            fail(run, node, _overdue(node, run), final=True)
        elif _fit(run, node, node.arguments) and run.slots(node.lane).take():
            run.polls_due.discard(number)
            _poll_again(run, node)
        elif number in run.unfit:
            run.polls_due.discard(number)
            _fail_before_body(run, node, run.unfit.pop(number))


def _poll_again(run: ActiveRun, node: Node) -> None:
    attempt = _attempt(run, node, "execute", _task(node).execute, node.arguments, goes_on=True)
    if attempt is None:
        run.slots(node.lane).give()
        return
    run.start_when_durable(attempt)


def _overdue(node: Node, run: ActiveRun) -> Failure:
    polls = run.poll_counts.get(node.number, run.state.polls.get(node.number, 0))
    message = f"not ready after {polls} polls: the deadline of {_task(node).deadline_s:g} s is over"
    return Failure(
        path=node.path, type="TimeoutError", message=message, kind="deadline", attempt=run.state.attempts[node.number]
    )


# -- reverts ------------------------------------------------------------------------------------


def _revert(run: ActiveRun, action: Action) -> bool:
    state, node = run.state, run.plan.nodes[action.node]
    call = _task(node).revert
    if _drained_poll_runs(run):
        return False
    if call is None:
        run.draft(node.number, facts.TaskReverted(try_=state.tries[node.number], attempt=0))
        return True
    if state.revert_interruptions.get(node.number, 0) >= MAX_INTERRUPTIONS:
        message = "the process reverting it was lost three times"
        failure = Failure(path=node.path, type="Interrupted", message=message, kind="poison")
        fail_revert(run, node, failure, attempt=state.revert_attempts.get(node.number, 0), final=True)
        return True
    return _call_revert(run, node, call)


def _call_revert(run: ActiveRun, node: Node, call: Call) -> bool:
    if not _fit(run, node, node.revert_arguments):
        if node.number not in run.unfit:
            return False
        failure = run.unfit.pop(node.number)
        fail_revert(run, node, failure, attempt=run.state.revert_attempts.get(node.number, 0) + 1)
        return True
    slots = run.slots(revert_lane(node))
    if not slots.take():
        return False
    attempt = _attempt(run, node, "revert", call, node.revert_arguments)
    if attempt is None:
        slots.give()
        return True
    run.draft(node.number, facts.RevertStarted(try_=attempt.try_, attempt=attempt.attempt, key=attempt.key))
    run.start_when_durable(attempt)
    return True


def _drained_poll_runs(run: ActiveRun) -> bool:
    """A poll that drained while its body ran (the log cannot know): its scope waits for that body (C7)."""
    return any(run.state.states[number] == "INTERRUPTED" for number in run.live)


# -- branches -----------------------------------------------------------------------------------


def _ask_branch(run: ActiveRun, action: Action) -> bool:
    node = run.plan.nodes[action.node]
    verdicts: list[tuple[str, bool]] = []
    against: list[facts.Depth] = []
    for condition in node.conditions:
        if condition.before is not None and run.values.is_skipped(condition.before):
            continue  # an edge from a skipped part is not asked and counts as yes
        try:
            yes = bool(condition.ask(**run.values.arguments(condition.arguments, _no_context, None)))
        except Exception as error:  # noqa: BLE001 - the predicate is the user's code (D7)
            run.exceptions[node.path] = error
            run.draft(node.number, facts.BranchDecided(error=failure_of(error, path=node.path, kind="predicate")))
            return True
        verdicts.append(("" if condition.before is None else run.plan.nodes[condition.before].path, yes))
        if not yes:
            against.append(condition.depth)
    widest = max(against, key=WIDTH.__getitem__, default=None)
    run.draft(node.number, facts.BranchDecided(verdicts=tuple(verdicts), no=widest))
    return True


def _no_context() -> None:
    """A predicate is no attempt and has no context."""


def _skip(run: ActiveRun, action: Action) -> bool:
    run.draft(action.node, facts.TaskSkipped())
    return True


# -- scopes -------------------------------------------------------------------------------------


def _start_round(run: ActiveRun, action: Action) -> bool:
    node = run.plan.nodes[action.node]
    number = run.state.rounds.get(action.node, 0) + 1
    try:
        retry = _retry(run, node)
        history = _history(run, action.node, retry)
        value = typed(retry.value_type, where=f"retry of {node.path}").to_json(retry.value(history))
    except Exception as error:  # noqa: BLE001 - the retry is the user's code (D7)
        _erred(run, node, number, error, ())
        return True
    run.draft(action.node, facts.RoundStarted(round=number, value=facts.Raw(value)))
    return True


def _ask_retry(run: ActiveRun, action: Action) -> bool:
    if _drained_poll_runs(run):
        return False
    node = run.plan.nodes[action.node]
    number = run.state.rounds[action.node]
    failures = deciding.round_failures(run.state, action.node)
    try:
        retry = _retry(run, node)
        history = _history(run, action.node, retry)
        history[-1] = replace(history[-1], failures=failures, ended_s=_elapsed_s(run, action.node))
        decision = _checked(retry.on_failure(history))
        delay = retry.backoff.delay_s(number, run.services.ids.random()) if decision == "RETRY" else 0.0
    except Exception as error:  # noqa: BLE001 - D7
        _erred(run, node, number, error, failures)
        return True
    event = facts.RetryDecided(round=number, decision=decision, failures=failures, backoff_s=delay)
    run.draft(action.node, event)
    return True


def _checked(decision: Any) -> facts.Decision:
    if decision not in ("RETRY", "REVERT", "REVERT_ALL"):
        raise ValueError(f"on_failure answered {decision!r}, not RETRY, REVERT or REVERT_ALL")
    answer: facts.Decision = decision
    return answer


def _erred(run: ActiveRun, node: Node, number: int, error: Exception, failures: tuple[Failure, ...]) -> None:
    run.exceptions[node.path] = error
    failure = failure_of(error, path=node.path, kind="retry")
    run.draft(node.number, facts.RetryDecided(round=number, decision="REVERT", failures=failures, error=failure))


def _history(run: ActiveRun, scope: int, retry: Retry[Any]) -> list[Try[Any]]:
    value_type = typed(retry.value_type, where="retry")
    rounds = run.state.history.get(scope, [])
    return [
        Try(value_type.load(bytes(past.value)), past.failures, (past.ended_us - rounds[0].began_us) / 1e6)
        for past in rounds
    ]


def _elapsed_s(run: ActiveRun, scope: int) -> float:
    """The run's own time since the scope's first round began, by the last event: a clock would not be replayable."""
    state = run.state
    return (state.time_us - state.suspended_us - state.history[scope][0].began_us) / 1e6


def _revert_scope(run: ActiveRun, action: Action) -> bool:
    if _drained_poll_runs(run):
        return False
    run.draft(action.node, facts.ScopeReverting(round=run.state.rounds.get(action.node, 0)))
    return True


def _reset_scope(run: ActiveRun, action: Action) -> bool:
    delay_s = run.state.backoff_s.get(action.node, 0.0)
    until = run.services.clock.now_us() + round(delay_s * 1e6) if delay_s > 0 else None
    run.draft(action.node, facts.ScopeReset(round=run.state.rounds[action.node], until=until))
    return True


def _end(run: ActiveRun, action: Action) -> bool:
    if _drained_poll_runs(run):
        return False
    run.draft(RUN, deciding.ending(run.plan, run.state))
    return True


_PERFORM: dict[str, Callable[[ActiveRun, Action], bool]] = {
    "Start": _start,
    "StartRound": _start_round,
    "AskRetry": _ask_retry,
    "RevertScope": _revert_scope,
    "Revert": _revert,
    "ResetScope": _reset_scope,
    "AskBranch": _ask_branch,
    "Skip": _skip,
    "End": _end,
}


def _task(node: Node) -> TaskSpec:
    assert node.task is not None
    return node.task


def _retry(run: ActiveRun, node: Node) -> Retry[Any]:
    """The retry of a scope, knowing the values of its symbols."""
    assert node.retry is not None
    if not node.retry_arguments:
        return node.retry
    return node.retry.knowing(run.values.arguments(node.retry_arguments, lambda: None, None))
