"""The fold behind the views: one event in, a few rows changed. It judges nothing: `core.evolve` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.failure import Failure
from flowledger.projections.fingerprints import fingerprint, settled, shown
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Rows
from flowledger.projections.statistics import HOUR_US, one_more
from flowledger.projections.tables import Key, Row, Table

from .auditing import AUDITED, audit
from .counting import (
    count_tasks,
    forget_grown,
    forget_skipped,
    forget_unreverted,
    grow,
    is_in,
    make_anew,
    recount,
    skip,
    start_over,
    take_over,
)
from .noticing import NOTICED, notice
from .tables import ATTEMPTS, EXECUTE, FAILURES, PHASES, REVERT, RUNS, STATISTICS, TABLES, TAGS

Step = Callable[[Rows, Row, Envelope, Any], None]

_JSON: Final = msgspec.json.Encoder(order="deterministic")
#: Raised with every change of a fold or a table here.
VERSION: Final = 8


def fold(rows: Rows, envelope: Envelope) -> None:
    """Take in one event."""
    event = envelope.event
    kind = type(event)
    run = rows.new(RUNS, envelope.run_id) if envelope.version == 1 else rows.at(RUNS, envelope.run_id)
    run["version"] = envelope.version
    run["updated_us"] = envelope.time_us
    step = _STEPS.get(kind)
    if step is not None:
        step(rows, run, envelope, event)
    if kind in AUDITED:
        audit(rows, run, envelope)
    if kind in NOTICED:
        notice(rows, run, envelope)


def wanted(envelope: Envelope) -> Iterator[tuple[Table, Key]]:
    """The rows of the run and of the attempt."""
    if envelope.version == 1:
        return
    yield RUNS, (envelope.run_id,)
    event = envelope.event
    phase = _PHASES.get(type(event))
    if phase is not None:
        yield ATTEMPTS, (envelope.run_id, envelope.path, event.try_, phase, event.attempt)  # type: ignore[attr-defined]


# -- the run ------------------------------------------------------------------------------------


def _submitted(rows: Rows, run: Row, envelope: Envelope, event: facts.RunSubmitted) -> None:
    run["app"], run["flow"], run["key"] = event.app, event.factory, event.key
    run["state"], run["direction"] = "PENDING", "FORWARD"
    run["actor"], run["submitted_us"] = envelope.actor, envelope.time_us
    if event.tags:
        run["tags"] = _JSON.encode(event.tags).decode()
        for name, value in event.tags.items():
            rows.new(TAGS, name, value, envelope.run_id)


def _claimed(rows: Rows, run: Row, envelope: Envelope, event: facts.RunClaimed) -> None:
    run["owner"] = event.owner


def _released(rows: Rows, run: Row, envelope: Envelope, event: facts.RunReleased) -> None:
    run["owner"] = None


def _started(rows: Rows, run: Row, envelope: Envelope, event: facts.RunStarted) -> None:
    run["state"], run["plan"], run["started_us"] = "RUNNING", event.fingerprint, envelope.time_us
    run["tasks"] = count_tasks(rows, event.fingerprint)
    recount(rows, run)


def _plan_changed(rows: Rows, run: Row, envelope: Envelope, event: facts.PlanChanged) -> None:
    run["tasks"] += count_tasks(rows, event.fingerprint) - count_tasks(rows, run["plan"])
    run["plan"] = event.fingerprint


def _suspended(rows: Rows, run: Row, envelope: Envelope, event: facts.RunSuspended) -> None:
    run["state"] = "SUSPENDED"


def _goes_on(rows: Rows, run: Row, envelope: Envelope, event: facts.Event) -> None:
    run["state"] = "RUNNING" if run["direction"] == "FORWARD" else "REVERTING"


def _accepted(rows: Rows, run: Row, envelope: Envelope, event: facts.RequestAccepted) -> None:
    if event.kind == "suspend":
        run["state"] = "SUSPENDING"
    elif event.kind in ("revert", "rerun"):
        back = event.kind == "revert"
        run["state"], run["direction"] = ("REVERTING", "BACK") if back else ("RUNNING", "FORWARD")
        run["ended_us"], run["asked"] = None, int(back)
    elif event.kind == "cancel":
        run["asked"] = 1


def _ended(rows: Rows, run: Row, envelope: Envelope, event: facts.Event) -> None:
    run["state"], column = _ENDS[type(event)]
    run["ended_us"], run["owner"] = envelope.time_us, None
    if column == "succeeded":
        run["failed_at"] = run["error"] = run["failure"] = None
    _count(rows, run, "", envelope.time_us, column, since_us=run["started_us"])


_ENDS: Final[dict[type[facts.Event], tuple[str, str]]] = {
    facts.RunSucceeded: ("SUCCEEDED", "succeeded"),
    facts.RunReverted: ("REVERTED", "reverted"),
    facts.RunFailed: ("FAILED", "failed"),
    facts.RunCancelled: ("CANCELLED", "cancelled"),
}


# -- scopes and branches ------------------------------------------------------------------------


def _scope_reverting(rows: Rows, run: Row, envelope: Envelope, event: facts.ScopeReverting) -> None:
    if not envelope.path:
        run["direction"], run["state"] = "BACK", "REVERTING"


def _scope_reset(rows: Rows, run: Row, envelope: Envelope, event: facts.ScopeReset) -> None:
    if is_in(run["failed_at"], envelope.path):
        run["failed_at"] = run["error"] = run["failure"] = None
    if not envelope.path:
        start_over(rows, run, event.forgotten)
        return
    forget_unreverted(rows, run, envelope.path)
    forget_grown(rows, run, envelope.path)
    forget_skipped(run, envelope.path)


def _decided(rows: Rows, run: Row, envelope: Envelope, event: facts.RetryDecided) -> None:
    if event.error is not None:
        _fails(rows, run, envelope, event.error)


def _branch(rows: Rows, run: Row, envelope: Envelope, event: facts.BranchDecided) -> None:
    if event.error is not None:
        _fails(rows, run, envelope, event.error)


def _expanded(rows: Rows, run: Row, envelope: Envelope, event: facts.FlowExpanded) -> None:
    if event.error is not None:
        _fails(rows, run, envelope, event.error)
    else:
        grow(rows, run, envelope.path, event.fingerprint)


# -- attempts -----------------------------------------------------------------------------------


def _attempt(rows: Rows, envelope: Envelope, event: facts.AtomEvent, phase: int) -> Row:
    """The row of the attempt an event speaks of."""
    row = rows.at(ATTEMPTS, envelope.run_id, envelope.path, event.try_, phase, event.attempt)
    if not row["started"]:  # it failed before its body ran
        row["started"], row["started_us"], row["actor"] = envelope.version, envelope.time_us, envelope.actor
    return row


def _end(row: Row, envelope: Envelope, state: str) -> None:
    row["state"], row["ended"], row["ended_us"] = state, envelope.version, envelope.time_us
    row["actor"] = getattr(envelope.event, "worker", "") or row["actor"]


def _task_started(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskStarted) -> None:
    row = rows.new(ATTEMPTS, envelope.run_id, envelope.path, event.try_, EXECUTE, event.attempt)
    row["state"], row["actor"] = "RUNNING", envelope.actor
    row["started"], row["started_us"] = envelope.version, envelope.time_us
    run["attempts"] += 1
    if run["forked_from"]:
        make_anew(rows, run, envelope.path)


def _task_waiting(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskWaiting) -> None:
    row = _attempt(rows, envelope, event, EXECUTE)
    row["state"], row["polls"] = "WAITING", event.polls


def _task_succeeded(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskSucceeded) -> None:
    row = _attempt(rows, envelope, event, EXECUTE)
    _end(row, envelope, "SUCCEEDED")
    row["polls"] = event.polls or row["polls"]
    if not row["stands"]:
        row["stands"] = 1
        run["done"] += 1
    if not event.attempt:
        run["waited"] = 1
    _count(rows, run, _name(envelope.path), envelope.time_us, "succeeded", since_us=row["started_us"])


def _task_failed(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskFailed) -> None:
    row = _attempt(rows, envelope, event, EXECUTE)
    _end(row, envelope, "FAILED")
    row["polls"] = event.polls or row["polls"]
    row["error"] = shown(event.failure)
    row["failure"] = _failure(rows, run, envelope, event.failure)
    if not event.again:
        _holds(run, envelope.path, row["error"], row["failure"])
    _count(rows, run, _name(envelope.path), envelope.time_us, "again" if event.again else "failed")


def _interrupted(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskInterrupted) -> None:
    _end(_attempt(rows, envelope, event, PHASES.index(event.phase)), envelope, "INTERRUPTED")
    _count(rows, run, _name(envelope.path), envelope.time_us, "interrupted")


def _held(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskHeld) -> None:
    row = _attempt(rows, envelope, event, EXECUTE)
    _end(row, envelope, "INTERRUPTED")
    run["state"] = "SUSPENDING"


def _revert_started(rows: Rows, run: Row, envelope: Envelope, event: facts.RevertStarted) -> None:
    _undone(rows, run, envelope, event.try_)
    row = _attempt(rows, envelope, event, REVERT)
    row["state"] = "REVERTING"
    run["attempts"] += 1


def _task_reverted(rows: Rows, run: Row, envelope: Envelope, event: facts.TaskReverted) -> None:
    if not event.attempt:  # there was nothing to call
        _undone(rows, run, envelope, event.try_)
        return
    _end(_attempt(rows, envelope, event, REVERT), envelope, "REVERTED")
    _count(rows, run, _name(envelope.path), envelope.time_us, "reverted")


def _undone(rows: Rows, run: Row, envelope: Envelope, try_: int) -> None:
    """The atom stands no longer; an attempt of it that waited has ended with the draining of its scope (D1)."""
    for seen in rows.under(ATTEMPTS, envelope.run_id, envelope.path, try_, EXECUTE):
        if seen["stands"] or seen["ended"] is None:
            row = rows.at(ATTEMPTS, *(seen[name] for name in ATTEMPTS.key_names))
            run["done"] -= row["stands"]
            row["stands"] = 0
            if row["ended"] is None:
                _end(row, envelope, "INTERRUPTED")


def _revert_failed(rows: Rows, run: Row, envelope: Envelope, event: facts.RevertFailed) -> None:
    row = _attempt(rows, envelope, event, REVERT)
    _end(row, envelope, "REVERT_FAILED")
    row["error"] = shown(event.failure)
    row["failure"] = _failure(rows, run, envelope, event.failure)
    if not event.again:
        _holds(run, envelope.path, row["error"], row["failure"])
        _count(rows, run, _name(envelope.path), envelope.time_us, "revert_failed")


# -- failures and figures -----------------------------------------------------------------------


def _fails(rows: Rows, run: Row, envelope: Envelope, failure: Failure) -> None:
    _holds(run, envelope.path, shown(failure), _failure(rows, run, envelope, failure))


def _holds(run: Row, path: str, error: str, failure: str) -> None:
    run["failed_at"], run["error"], run["failure"] = path, error, failure


def _failure(rows: Rows, run: Row, envelope: Envelope, failure: Failure) -> str:
    """Count a failure among its like; its fingerprint."""
    task = _name(envelope.path)
    known = fingerprint(failure, task)
    row = rows.at(FAILURES, run["app"], run["flow"], known)
    if not row["count"]:
        row["task"], row["type"], row["message"] = task, failure.type, settled(failure.message)
        row["first_us"] = envelope.time_us
    row["count"] += 1
    row["last_us"], row["last_run"], row["last_version"] = envelope.time_us, envelope.run_id, envelope.version
    return known


def _count(rows: Rows, run: Row, task: str, time_us: int, column: str, *, since_us: int | None = None) -> None:
    row = rows.at(STATISTICS, run["app"], run["flow"], task, time_us // HOUR_US)
    row[column] += 1
    if column == "succeeded" and since_us is not None:
        took_us = max(0, time_us - since_us)
        row["total_us"] += took_us
        row["took"] = one_more(row["took"], took_us)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


_STEPS: Final[dict[type[facts.Event], Step]] = {
    facts.RunSubmitted: _submitted,
    facts.RunForked: lambda rows, run, envelope, event: take_over(rows, run, event, envelope.version),
    facts.RunClaimed: _claimed,
    facts.RunReleased: _released,
    facts.RunStarted: _started,
    facts.PlanChanged: _plan_changed,
    facts.RunSuspended: _suspended,
    facts.RunResumed: _goes_on,
    facts.RunSucceeded: _ended,
    facts.RunReverted: _ended,
    facts.RunFailed: _ended,
    facts.RunCancelled: _ended,
    facts.RequestAccepted: _accepted,
    facts.ScopeReverting: _scope_reverting,
    facts.ScopeReset: _scope_reset,
    facts.RetryDecided: _decided,
    facts.BranchDecided: _branch,
    facts.TaskSkipped: lambda rows, run, envelope, _: skip(rows, run, envelope.path),
    facts.FlowExpanded: _expanded,
    facts.TaskStarted: _task_started,
    facts.TaskWaiting: _task_waiting,
    facts.TaskSucceeded: _task_succeeded,
    facts.TaskFailed: _task_failed,
    facts.TaskInterrupted: _interrupted,
    facts.TaskHeld: _held,
    facts.RevertStarted: _revert_started,
    facts.TaskReverted: _task_reverted,
    facts.RevertFailed: _revert_failed,
}
#: Events that speak of an attempt known already.
_PHASES: Final[dict[type[facts.Event], int]] = {
    facts.TaskWaiting: EXECUTE,
    facts.TaskSucceeded: EXECUTE,
    facts.TaskFailed: EXECUTE,
    facts.TaskHeld: EXECUTE,
    facts.TaskReverted: REVERT,
    facts.RevertFailed: REVERT,
}

HISTORY: Final = Projection("history", VERSION, TABLES, fold, wanted)
