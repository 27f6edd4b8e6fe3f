"""Rounds of retry scopes: begun, asked about, reverted, reset (rules D1 to D3, D6, D7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowledger.core import decide as deciding
from flowledger.core.actions import Action
from flowledger.core.plan import RUN, Node
from flowledger.core.rerunning import forgotten
from flowledger.core.retry import Retry, Try
from flowledger.core.typed import typed
from flowledger.events import facts
from flowledger.events.failure import Failure

from .active import ActiveRun
from .attempt import failure_of
from .attempting import drained_poll_runs


def start_round(run: ActiveRun, action: Action) -> bool:
    """The next pass of the scope, with the retry's next value."""
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


def ask_retry(run: ActiveRun, action: Action) -> bool:
    """Ask the retry of a drained scope, once (D2)."""
    if drained_poll_runs(run):
        return False
    node = run.plan.nodes[action.node]
    number = run.state.rounds[action.node]
    failures = deciding.round_failures(run.state, action.node)
    try:
        retry = _retry(run, node)
        history = _history(run, action.node, retry)
        shown = tuple(map(run.values.shown, failures))
        history[-1] = replace(history[-1], failures=shown, ended_s=_elapsed_s(run, action.node))
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
        Try(
            run.values.load(value_type, run.values.unsealed(bytes(past.value))),
            tuple(map(run.values.shown, past.failures)),
            (past.ended_us - rounds[0].began_us) / 1e6,
        )
        for past in rounds
    ]


def _elapsed_s(run: ActiveRun, scope: int) -> float:
    """The run's own time since the scope's first round began, by the last event: a clock would not be replayable."""
    state = run.state
    return (state.time_us - state.suspended_us - state.history[scope][0].began_us) / 1e6


def revert_scope(run: ActiveRun, action: Action) -> bool:
    """Begin to undo the scope."""
    if drained_poll_runs(run):
        return False
    run.draft(action.node, facts.ScopeReverting(round=run.state.rounds.get(action.node, 0)))
    return True


def reset_scope(run: ActiveRun, action: Action) -> bool:
    """All of the scope is as before its first round; the next one waits for the back-off."""
    delay_s = run.state.backoff_s.get(action.node, 0.0)
    until = run.services.clock.now_us() + round(delay_s * 1e6) if delay_s > 0 else None
    told = forgotten(run.state) if action.node == RUN else ()
    run.draft(action.node, facts.ScopeReset(round=run.state.rounds.get(action.node, 0), until=until, forgotten=told))
    return True


def end(run: ActiveRun, action: Action) -> bool:
    """The run is over."""
    if drained_poll_runs(run):
        return False
    run.draft(RUN, deciding.ending(run.plan, run.state))
    return True


def _retry(run: ActiveRun, node: Node) -> Retry[Any]:
    """The retry of a scope, knowing the values of its symbols."""
    assert node.retry is not None
    if not node.retry_arguments:
        return node.retry
    return node.retry.knowing(run.values.arguments(node.retry_arguments, lambda: None, None))
