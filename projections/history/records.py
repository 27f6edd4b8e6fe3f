"""What queries give: rows of the views as typed records. Times are microseconds since the epoch, store time (F1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from flowledger.events.store import FINAL
from flowledger.projections.tables import Row

from .tables import PHASES

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. ``state`` is its status, or REVERTING; ``done`` of its ``tasks`` stand or were skipped.

    ``failed_at``, ``error`` and ``failure`` (its fingerprint) speak of what holds; ``plan`` is the plan's fingerprint.
    """

    id: str
    app: str
    flow: str
    key: str | None
    tags: Mapping[str, str]
    state: str
    direction: str
    owner: str | None
    actor: str
    plan: str | None
    events: int
    submitted_us: int
    started_us: int | None
    ended_us: int | None
    updated_us: int
    tasks: int
    done: int
    attempts: int
    failed_at: str | None
    error: str | None
    failure: str | None
    forked_from: str | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    def took_us(self, now_us: int | None = None) -> int | None:
        """From the start to the end, or to ``now_us`` while there is none."""
        end = self.ended_us if self.ended_us is not None else now_us
        return None if self.started_us is None or end is None else max(0, end - self.started_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt: ``phase`` is "execute" or "revert"; ``started`` and ``ended`` are the versions of its events.

    ``actor`` is who made it: the worker, once it has said so, else the process that drives the run. ``stands``: what
    it did has not been undone.
    """

    run_id: str
    path: str
    try_: int
    phase: str
    attempt: int
    state: str
    actor: str
    started: int
    ended: int | None
    started_us: int
    ended_us: int | None
    polls: int
    stands: bool
    error: str | None
    failure: str | None

    def took_us(self, now_us: int | None = None) -> int | None:
        """From the start to the end, or to ``now_us`` while there is none."""
        end = self.ended_us if self.ended_us is not None else now_us
        return None if end is None else max(0, end - self.started_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """Something somebody did: ``what`` in a word, the ``reason`` given, and ``note`` for what else is to be said."""

    run_id: str
    version: int
    time_us: int
    app: str
    flow: str
    actor: str
    what: str
    path: str
    reason: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts of a task of a flow, or (``task`` "") of its runs, over some hours; durations are those of successes.

    ``again`` counts failed attempts that were followed by another. Percentiles are exact to 12.5 %.
    """

    app: str
    flow: str
    task: str
    hours: int
    succeeded: int = 0
    failed: int = 0
    again: int = 0
    interrupted: int = 0
    reverted: int = 0
    revert_failed: int = 0
    cancelled: int = 0
    mean_us: int | None = None
    p50_us: int | None = None
    p90_us: int | None = None
    p99_us: int | None = None

    @property
    def per_hour(self) -> float:
        """Successes per hour."""
        return self.succeeded / self.hours if self.hours else 0.0

    @property
    def failure_rate(self) -> float | None:
        """Failures among all that ended, 0 to 1; None where nothing did."""
        ended = self.succeeded + self.failed + self.reverted * (not self.task) + self.cancelled
        bad = ended - self.succeeded
        return bad / ended if ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures that are the same but for numbers, ids and quoted words (``…`` in ``message``)."""

    app: str
    flow: str
    failure: str
    task: str
    type: str
    message: str
    count: int
    first_us: int
    last_us: int
    last_run: str
    last_version: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of what was asked for; ``next`` is handed in as ``after`` for those that follow, None where there are none.

    A page may hold fewer than were asked for, even none, and others still follow: one look is bounded.
    """

    items: list[T]
    next: str | None = field(default=None)


def run_record(row: Row) -> RunRecord:
    """A row of `RUNS`."""
    values: dict[str, Any] = dict(row)
    tags = values.pop("tags")
    del values["skipped"], values["waited"], values["grown"], values["asked"]
    return RunRecord(
        id=values.pop("run_id"), events=values.pop("version"),
        tags=msgspec.json.decode(tags, type=dict[str, str]) if tags else {}, **values,
    )  # fmt: skip


def attempt_record(row: Row) -> AttemptRecord:
    """A row of `ATTEMPTS`."""
    values: dict[str, Any] = dict(row)
    phase: int = values.pop("phase")
    values |= {
        "phase": PHASES[phase], "stands": bool(values["stands"]), "error": values["error"] or None,
        "failure": values["failure"] or None,
    }  # fmt: skip
    return AttemptRecord(try_=values.pop("try"), **values)


def audit_record(row: Row) -> AuditRecord:
    """A row of `AUDIT`."""
    return AuditRecord(**row)


def failure_group(row: Row) -> FailureGroup:
    """A row of `FAILURES`."""
    return FailureGroup(**row)
