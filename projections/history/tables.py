"""The tables of the built-in projection. Times are microseconds since the epoch, store time (F1)."""

from __future__ import annotations

from typing import Final

from flowledger.projections.tables import Int16, Int32, Table

#: One row per run. ``state`` is the status, or REVERTING; ``tasks`` are all atoms of the plan, ``done`` those that
#: stand (or were skipped). ``failed_at``, ``error`` and ``failure`` (its fingerprint) speak of what holds now: they are
#: gone when the run has succeeded after all. ``skipped`` and ``grown`` are kept for the fold, and ``waited``:
#: 1 once a pause or a signal was done.
#: ``asked`` is 1 while it does what a person asked for (revert, cancel). ``forked_from`` is the run that this one took
#: over from, and its version: ``ID@V``.
RUNS: Final = Table(
    "runs",
    key={"run_id": str},
    columns={
        "app": str,
        "flow": str,
        "key": str | None,
        "tags": str | None,
        "state": str,
        "direction": str,
        "owner": str | None,
        "actor": str,
        "plan": str | None,
        "version": Int32,
        "submitted_us": int,
        "started_us": int | None,
        "ended_us": int | None,
        "updated_us": int,
        "tasks": Int32,
        "done": Int32,
        "attempts": Int32,
        "failed_at": str | None,
        "error": str | None,
        "failure": str | None,
        "forked_from": str | None,
        "asked": Int32,
        "skipped": str | None,
        "waited": Int32,
        "grown": str | None,
    },
    indexes=(("state", "run_id"), ("flow", "run_id"), ("failure", "run_id"), ("key", "run_id")),
)

#: A tag of a run, found by name and value.
TAGS: Final = Table("tags", key={"name": str, "value": str, "run_id": str}, indexes=(("run_id", "name"),))

#: What ``phase`` stands for in a row of `ATTEMPTS`, where there is no table of more rows.
PHASES: Final = ("execute", "revert")
EXECUTE: Final = 0
REVERT: Final = 1

#: One row per attempt. ``phase`` is one of `PHASES`, ``started`` and ``ended`` are the versions of the events,
#: where inputs, result and traceback are. ``actor`` is who made it: the worker, once it has said so, else the process
#: that drives the run. ``stands`` is 1 while what the attempt did has not been undone. ``error`` and ``failure`` are ""
#: where there was none: a row that has all its columns takes less room.
ATTEMPTS: Final = Table(
    "attempts",
    key={"run_id": str, "path": str, "try": Int32, "phase": Int16, "attempt": Int32},
    columns={
        "state": str,
        "actor": str,
        "started": Int32,
        "ended": Int32 | None,
        "started_us": int,
        "ended_us": int | None,
        "polls": Int32,
        "stands": Int16,
        "error": str,
        "failure": str,
    },
    soon_done=True,
)

#: What people (and new owners) did: ``what`` in a word, the ``reason`` they gave, ``note`` for what else is to be said.
AUDIT: Final = Table(
    "audit",
    key={"run_id": str, "version": int},
    columns={
        "time_us": int, "app": str, "flow": str, "actor": str, "what": str, "path": str, "reason": str, "note": str,
    },
    indexes=(("time_us", "run_id", "version"), ("actor", "time_us", "run_id", "version")),
)  # fmt: skip

#: Counts per hour (hours since the epoch). ``task`` is the atom's own name; "" counts the runs of the flow. ``took`` is
#: how long successes took: how many fell into each bucket, as `statistics.one_more` keeps it.
STATISTICS: Final = Table(
    "statistics",
    key={"app": str, "flow": str, "task": str, "hour": Int32},
    columns={
        "succeeded": Int32, "failed": Int32, "again": Int32, "interrupted": Int32, "reverted": Int32,
        "revert_failed": Int32, "cancelled": Int32, "total_us": int, "took": str,
    },
)  # fmt: skip

#: Failures that are the same but for numbers, ids and quoted words.
FAILURES: Final = Table(
    "failures",
    key={"app": str, "flow": str, "failure": str},
    columns={
        "task": str, "type": str, "message": str, "count": int, "first_us": int, "last_us": int, "last_run": str,
        "last_version": int,
    },
)  # fmt: skip

#: What somebody may want to be told of, numbered in the order of the log: a run that failed by itself, a task that is
#: held, a revert that failed.
NOTICES: Final = Table(
    "notices",
    key={"number": int},
    columns={"run_id": str, "version": int, "time_us": int, "kind": str, "path": str, "text": str},
)
#: Numbers given out.
COUNTERS: Final = Table("counters", key={"name": str}, columns={"last": int})

TABLES: Final = (RUNS, TAGS, ATTEMPTS, AUDIT, STATISTICS, FAILURES, NOTICES, COUNTERS)
