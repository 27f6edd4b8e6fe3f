"""Runs and events as JSON values: what ``--json`` writes, version `terminal.JSON_SCHEMA`."""

from __future__ import annotations

from typing import Any

import msgspec

from flowledger.events.codec import encode
from flowledger.events.envelope import Envelope
from flowledger.events.failure import Failure
from flowledger.projections.history.records import AttemptRecord, AuditRecord, RunRecord
from flowledger.projections.nodes import AtomView, FlowView
from flowledger.projections.remote import Asked
from flowledger.projections.run_view import RunView
from flowledger.projections.why import Driver

from .words import iso

_SECOND_US = 1_000_000


def seconds(duration_us: int | None) -> float | None:
    """A duration in seconds."""
    return None if duration_us is None else duration_us / _SECOND_US


def record_fields(run: RunRecord) -> dict[str, Any]:
    """A row of `ls`."""
    return {
        "id": run.id,
        "app": run.app,
        "flow": run.flow,
        "key": run.key,
        "tags": dict(run.tags),
        "state": run.state,
        "direction": run.direction,
        "owner": run.owner,
        "actor": run.actor,
        "events": run.events,
        "submitted": iso(run.submitted_us),
        "started": iso(run.started_us),
        "ended": iso(run.ended_us),
        "last_event": iso(run.updated_us),
        "duration_s": seconds(run.took_us()),
        "progress": {"done": run.done, "total": run.tasks},
        "attempts": run.attempts,
        "failed_at": run.failed_at,
        "error": run.error,
        "failure": run.failure,
        "forked_from": run.forked_from,
    }


def attempt_fields(attempt: AttemptRecord) -> dict[str, Any]:
    """A row of `attempts`; ``started_event`` and ``ended_event`` are versions."""
    return {
        "path": attempt.path,
        "try": attempt.try_,
        "phase": attempt.phase,
        "attempt": attempt.attempt,
        "state": attempt.state,
        "actor": attempt.actor,
        "started": iso(attempt.started_us),
        "ended": iso(attempt.ended_us),
        "started_event": attempt.started,
        "ended_event": attempt.ended,
        "duration_s": seconds(attempt.took_us()),
        "polls": attempt.polls,
        "stands": attempt.stands,
        "error": attempt.error,
        "failure": attempt.failure,
    }


def act_fields(act: AuditRecord) -> dict[str, Any]:
    """A row of `audit`."""
    return {
        "time": iso(act.time_us), "actor": act.actor, "what": act.what, "app": act.app, "flow": act.flow,
        "run": act.run_id, "event": act.version, "path": act.path, "reason": act.reason, "note": act.note,
    }  # fmt: skip


def run_fields(view: RunView, *, tree: bool = True) -> dict[str, Any]:
    """A run: what `show`, `run`, `resume` and `revert` write."""
    done, total = view.progress
    fields: dict[str, Any] = {
        "id": view.run_id,
        "app": view.app,
        "flow": view.factory,
        "key": view.key,
        "tags": view.tags,
        "state": view.state,
        "direction": view.direction,
        "succeeded": view.succeeded,
        "owner": view.owner,
        "events": view.version,
        "plan": view.fingerprint,
        "forked_from": None if view.forked is None else {"run": view.forked.source, "version": view.forked.version},
        "adopted_by": view.adopted_by,
        "submitted": iso(view.submitted_us),
        "started": iso(view.started_us),
        "ended": iso(view.ended_us),
        "duration_s": seconds(view.duration_us()),
        "progress": {"done": done, "total": total},
        "resumptions": [{"at": r.version, "kept": r.kept, "interrupted": r.interrupted} for r in view.resumptions],
        "failures": [_failure(failure) for failure in view.failures],
    }
    return fields | {"nodes": [_node(node) for node in view.below("")]} if tree else fields


def _node(node: AtomView | FlowView) -> dict[str, Any]:
    if isinstance(node, FlowView):
        return {
            "path": node.path,
            "kind": node.place.pattern,
            "state": node.state,
            "done": node.done,
            "total": node.total,
            "retry": node.place.retry,
            "round": node.round,
            "failed_rounds": [
                {"round": r.round, "decision": r.decision, "failures": [_failure(f) for f in r.failures]}
                for r in node.failed_rounds
            ],
        }
    return {
        "path": node.path,
        "kind": "task",
        "state": node.state,
        "try": node.try_,
        "attempt": node.attempt,
        "attempts": node.attempts,
        "polls": node.polls,
        "interruptions": node.interruptions,
        "lost": node.lost,
        "losses": node.place.losses,
        "inherited": node.inherited,
        "queue": node.queue or None,
        "worker": node.worker or None,
        "held": node.held and node.state == "INTERRUPTED",
        "started": iso(node.started_us),
        "ended": iso(node.ended_us),
        "duration_s": seconds(node.duration_us()),
        "failed_attempts": [_failure(failure) for failure in node.failed_attempts],
    }


def driver_fields(driver: Driver | None) -> dict[str, Any]:
    """Who drives a run, or why nobody does; null where nobody has to."""
    return {"driver": None if driver is None else {"lives": driver.lives, "said": driver.words}}


def asked_fields(asked: Asked) -> dict[str, Any]:
    """An attempt under way that workers were asked for; ``serving`` workers that live take the queue."""
    claim, worker = asked.claim, asked.worker
    return {
        "path": asked.path,
        "queue": asked.queue,
        "asked": iso(asked.asked_us),
        "serving": asked.serving,
        "worker": claim and claim.worker,
        "host": worker and worker.row.host,
        "pid": worker and worker.row.pid,
        "lives": claim and claim.lives,
        "ended": claim and claim.ended,
        "seen_s": claim and round(claim.seen_s, 1),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(failure)
    return fields


def event_fields(envelope: Envelope) -> dict[str, Any]:
    """One event with its envelope; ``event`` is its payload in today's shape."""
    return {
        "run": envelope.run_id,
        "version": envelope.version,
        "time": iso(envelope.time_us),
        "type": envelope.type,
        "path": envelope.path,
        "actor": envelope.actor,
        "hash": envelope.hash.hex(),
        "event": msgspec.Raw(encode(envelope.event)),
    }
