"""The job board in Postgres: claims in one statement, with `SKIP LOCKED` and database time (rules B1, B3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from flowledger.events.board import Claimed, Conductor, Job, Note, Offer, Remark
from flowledger.events.store import Claim

from .connecting import GuardedConnection, Lost
from .database import PostgresDatabase
from .ready import ALIVE, DUE, MAILED, NOW, OFFERED, ORPHANED, READY, asked
from .side import Side
from .wire import original, stored

# What two claimers find at the same time only one of them locks; a row that has changed since is judged as it has
# become.
_FOUND: Final = """{name} AS MATERIALIZED (
  SELECT s.run_id, s.priority FROM {s}.streams s WHERE {which}{offered}
   ORDER BY s.priority DESC, s.run_id LIMIT %(limit)s FOR NO KEY UPDATE OF s SKIP LOCKED)"""
_EACH: Final = ",\n".join(
    _FOUND.replace("{name}", name).replace("{which}", which).replace("{offered}", OFFERED)
    for name, which in (("ready", READY), ("due", DUE), ("orphaned", ORPHANED), ("mailed", MAILED))
)
_CLAIM: Final = """
WITH {alive},
{each},
best AS (
  SELECT run_id FROM (TABLE ready UNION ALL TABLE due UNION ALL TABLE orphaned UNION ALL TABLE mailed) AS found
   ORDER BY priority DESC, run_id LIMIT %(limit)s)
UPDATE {s}.streams s SET owner = %(me)s, epoch = s.epoch + 1 FROM best WHERE s.run_id = best.run_id
RETURNING s.priority, s.run_id, s.epoch, s.version, s.head_hash""".replace("{alive}", ALIVE).replace("{each}", _EACH)
_KEEP: Final = (
    "UPDATE {s}.streams SET owner = NULL WHERE owner = %s AND queue IS NOT NULL AND run_id <> ALL (%s::text[]) "
    "RETURNING run_id"
)
_SAY: Final = (
    "WITH swept AS (DELETE FROM {s}.conductors WHERE owner NOT IN (SELECT id FROM {s}.owners) RETURNING owner) "
    "INSERT INTO {s}.conductors (owner, factories, queues, runs, max_runs, draining) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (owner) DO UPDATE SET runs = EXCLUDED.runs, max_runs = EXCLUDED.max_runs, "
    "draining = EXCLUDED.draining RETURNING owner"
)
_CONDUCTORS: Final = (
    "SELECT c.owner, o.host, o.pid, o.app, c.factories, c.queues, c.runs, c.max_runs, c.draining, "
    "greatest(0, {now} - o.last_seen_us) / 1e6::float8 "
    "FROM {s}.conductors c JOIN {s}.owners o ON o.id = c.owner ORDER BY c.owner DESC"
)
_JOB: Final = (
    "SELECT s.run_id, s.app, s.factory, s.key, s.queue, s.priority, s.status, s.wake_at_us, s.owner, o.host, o.pid, "
    "greatest(0, {now} - o.last_seen_us) / 1e6::float8, s.epoch, s.created_us, "
    "n.remark, n.reason, n.actor, n.at_us, n.times "
    "FROM {s}.streams s LEFT JOIN {s}.owners o ON o.id = s.owner LEFT JOIN {s}.job_notes n ON n.run_id = s.run_id "
    "WHERE s.queue IS NOT NULL "
)
_JOBS: Final = (
    _JOB + "AND s.run_id > %s AND s.app = coalesce(%s, s.app) "
    "AND (s.status IN ('PENDING', 'RUNNING', 'SUSPENDING', 'SUSPENDED') OR n.run_id IS NOT NULL) "
    "ORDER BY s.run_id LIMIT %s"
)
_ONE: Final = _JOB + "AND s.run_id = %s"
_NOTE: Final = (
    "INSERT INTO {s}.job_notes AS n (run_id, remark, reason, actor, at_us, times) VALUES (%s, %s, %s, %s, {now}, 1) "
    "ON CONFLICT (run_id) DO UPDATE SET times = CASE WHEN (n.remark, n.reason) = (EXCLUDED.remark, EXCLUDED.reason) "
    "THEN n.times + 1 ELSE 1 END, remark = EXCLUDED.remark, reason = EXCLUDED.reason, actor = EXCLUDED.actor, "
    "at_us = EXCLUDED.at_us RETURNING run_id"
)
_FORGET: Final = "DELETE FROM {s}.job_notes WHERE run_id = %s RETURNING run_id"
_FREE: Final = (
    "UPDATE {s}.streams SET owner = NULL, epoch = epoch + 1 WHERE run_id = %s AND owner IS NOT NULL RETURNING run_id"
)


class PostgresBoard:
    """See `events.board.Board`."""

    def __init__(self, database: PostgresDatabase, side: Side) -> None:
        self._database = database
        self._side = side

    def claim(self, owner_id: str, offer: Offer, *, limit: int, but: Sequence[str] = ()) -> list[Claimed]:
        values = asked(owner_id, offer, but) | {"limit": limit}
        statement = self._text(_CLAIM)

        def take(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            return connection.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

        try:
            rows = self._database.reading_once(take)
        except Lost as lost:  # granted or not: nobody knows, and `keep` tells
            raise self._database.unavailable(lost.error) from lost
        in_order = sorted(rows, key=lambda row: (-row[0], row[1]))
        return [Claimed(original(run_id), Claim(*claim)) for _, run_id, *claim in in_order]

    def keep(self, owner_id: str, run_ids: Sequence[str]) -> int:
        let_go = len(self._rows(_KEEP, stored(owner_id), [stored(run_id) for run_id in run_ids]))
        if let_go:
            self._side.jobs_came()
        return let_go

    def wait(self, owner_id: str, offer: Offer, *, timeout_s: float, but: Sequence[str] = ()) -> bool:
        return self._side.polling.job(owner_id, offer, but, timeout_s)

    # -- conductors -----------------------------------------------------------------------------

    def say(self, conductor: Conductor) -> None:
        self._rows(
            _SAY, stored(conductor.owner), json.dumps(conductor.factories), json.dumps(conductor.queues),
            conductor.runs, conductor.max_runs, int(conductor.draining),
        )  # fmt: skip

    def conductors(self) -> list[Conductor]:
        return [
            Conductor(
                owner=original(owner), host=host, pid=pid, app=original(app), factories=tuple(json.loads(factories)),
                queues=tuple(json.loads(queues)), runs=runs, max_runs=max_runs, draining=bool(draining), seen_s=seen_s,
            )
            for owner, host, pid, app, factories, queues, runs, max_runs, draining, seen_s in self._rows(_CONDUCTORS)
        ]  # fmt: skip

    # -- jobs -----------------------------------------------------------------------------------

    def jobs(self, *, app: str | None = None, after: str = "", limit: int = 100) -> list[Job]:
        return [_job(row) for row in self._rows(_JOBS, stored(after), app and stored(app), limit)]

    def job(self, run_id: str) -> Job | None:
        return next((_job(row) for row in self._rows(_ONE, stored(run_id))), None)

    def note(self, run_id: str, remark: Remark, *, reason: str, actor: str) -> None:
        self._rows(_NOTE, stored(run_id), remark, stored(reason), stored(actor))

    def forget(self, run_id: str) -> None:
        self._rows(_FORGET, stored(run_id))
        self._side.jobs_came()

    def free(self, run_id: str) -> bool:
        freed = bool(self._rows(_FREE, stored(run_id)))
        if freed:
            self._side.jobs_came()
        return freed

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        text = self._text(statement)
        return self._database.reading(lambda connection: connection.execute(text, values).fetchall())  # pyright: ignore[reportArgumentType]

    def _text(self, statement: str) -> str:
        return statement.format(s=self._database.schema, now=NOW, n="")


def _job(row: Sequence[Any]) -> Job:
    run_id, app, factory, key, queue, priority, status, wake_at_us, owner, host, pid, seen_s, *rest = row
    epoch, created_us, remark, reason, actor, at_us, times = rest
    run_id = original(run_id)
    note = None
    if remark is not None:
        note = Note(
            run_id=run_id, remark=remark, reason=original(reason), actor=original(actor), at_us=at_us, times=times
        )
    return Job(
        run_id=run_id, app=original(app), factory=original(factory), key=key and original(key), queue=original(queue),
        priority=priority, status=status, wake_at_us=wake_at_us, owner=owner and original(owner), host=host, pid=pid,
        seen_s=seen_s, epoch=epoch, created_us=created_us, note=note,
    )  # fmt: skip
