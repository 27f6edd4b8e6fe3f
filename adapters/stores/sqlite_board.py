"""The job board in a SQLite file: several processes on one machine (rules B1, B3).

Claims look first and take the write lock only where there is something to take, so that idle conductors leave it alone.
Who waits for a job looks at the count of commits (``data_version``), which costs no I/O, and at the board only where it
has moved, and once a second for what time brings.
Who is dead is judged here and not in SQL: the presence locks are files.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

from flowledger.events.board import Claimed, Conductor, Job, Note, Offer, Remark
from flowledger.events.store import Claim

from .sqlite_file import SqliteFile
from .sqlite_owners import SqliteOwners, now_us

#: How often who waits for a job looks whether anything has been committed, and how often whether a time has come or an
#: owner has died.
POLL_S: Final = 0.05
LOOK_S: Final = 1.0

_LIVE = "('PENDING', 'RUNNING', 'SUSPENDING')"
_OWNERS = "SELECT id, last_seen_us FROM owners"
# Four questions, each with an index of its own: asked with OR, they would go through all runs there ever were.
_WANTED = """
   AND app = :app AND queue IN (SELECT value FROM json_each(:queues))
   AND factory IN (SELECT value FROM json_each(:factories)) AND run_id NOT IN (SELECT value FROM json_each(:but))
   AND NOT EXISTS (SELECT 1 FROM job_notes n WHERE n.run_id = s.run_id AND n.remark = 'trashed')"""
_SOME = "SELECT * FROM (SELECT priority, run_id, epoch, version, head_hash FROM streams s WHERE {which}{wanted}{order})"
_MAILED = (
    "queue IS NOT NULL AND owner IS NULL AND run_id IN (SELECT run_id FROM inbox) "
    "AND (CASE WHEN wake_at_us IS NULL THEN status NOT IN ('PENDING', 'RUNNING', 'SUSPENDING') "
    "ELSE wake_at_us > :now END)"
)
_WHICH = (
    f"queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NULL AND status IN {_LIVE}",
    "queue IS NOT NULL AND owner IS NULL AND wake_at_us IS NOT NULL AND wake_at_us <= :now",
    "queue IS NOT NULL AND owner IS NOT NULL AND owner <> :me AND owner NOT IN (SELECT value FROM json_each(:alive))",
    _MAILED,
)
_ORDER = " ORDER BY priority DESC, run_id LIMIT :limit"
_FIND = " UNION ALL ".join(_SOME.format(which=w, wanted=_WANTED, order=_ORDER) for w in _WHICH) + _ORDER
_TAKE = "UPDATE streams SET owner = ?, epoch = ? WHERE run_id = ?"
_KEEP = (
    "UPDATE streams SET owner = NULL WHERE owner = ? AND queue IS NOT NULL "
    "AND run_id NOT IN (SELECT value FROM json_each(?))"
)
_SAY = (
    "INSERT INTO conductors (owner, factories, queues, runs, max_runs, draining) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (owner) DO UPDATE SET runs = excluded.runs, max_runs = excluded.max_runs, "
    "draining = excluded.draining"
)
_SWEEP = "DELETE FROM conductors WHERE owner NOT IN (SELECT id FROM owners)"
_CONDUCTORS = (
    "SELECT c.owner, o.host, o.pid, o.app, c.factories, c.queues, c.runs, c.max_runs, c.draining, o.last_seen_us "
    "FROM conductors c JOIN owners o ON o.id = c.owner ORDER BY c.owner DESC"
)
_JOB = (
    "SELECT s.run_id, s.app, s.factory, s.key, s.queue, s.priority, s.status, s.wake_at_us, s.owner, o.host, o.pid, "
    "o.last_seen_us, s.epoch, s.created_us, n.remark, n.reason, n.actor, n.at_us, n.times "
    "FROM streams s LEFT JOIN owners o ON o.id = s.owner LEFT JOIN job_notes n ON n.run_id = s.run_id "
    "WHERE s.queue IS NOT NULL "
)
_JOBS = (
    _JOB + "AND s.run_id > ? AND (? IS NULL OR s.app = ?) "
    "AND (s.status IN ('PENDING', 'RUNNING', 'SUSPENDING', 'SUSPENDED') OR n.run_id IS NOT NULL) "
    "ORDER BY s.run_id LIMIT ?"
)
_ONE = _JOB + "AND s.run_id = ?"
_NOTE = (
    "INSERT INTO job_notes (run_id, remark, reason, actor, at_us, times) VALUES (?, ?, ?, ?, ?, 1) "
    "ON CONFLICT (run_id) DO UPDATE SET times = CASE WHEN remark = excluded.remark AND reason = excluded.reason "
    "THEN times + 1 ELSE 1 END, remark = excluded.remark, reason = excluded.reason, actor = excluded.actor, "
    "at_us = excluded.at_us"
)
_FORGET = "DELETE FROM job_notes WHERE run_id = ?"
_FREE = "UPDATE streams SET owner = NULL, epoch = epoch + 1 WHERE run_id = ? AND owner IS NOT NULL"


class SqliteBoard:
    """See `events.board.Board`."""

    def __init__(self, file: SqliteFile, owners: SqliteOwners) -> None:
        self._file = file
        self._owners = owners

    def claim(self, owner_id: str, offer: Offer, *, limit: int, but: Sequence[str] = ()) -> list[Claimed]:
        values = _asked(owner_id, offer, but) | {"limit": limit}
        with self._owners.looking() as connection:
            if not self._found(connection, values, offer.takeover_s):
                return []
        with self._owners.transaction() as connection:
            claimed = [
                Claimed(run_id, Claim(epoch + 1, version, head_hash))
                for _, run_id, epoch, version, head_hash in self._found(connection, values, offer.takeover_s)
            ]
            connection.executemany(_TAKE, [(owner_id, claim.epoch, run_id) for run_id, claim in claimed])
        return claimed

    def wait(self, owner_id: str, offer: Offer, *, timeout_s: float, but: Sequence[str] = ()) -> bool:
        values, deadline = _asked(owner_id, offer, but) | {"limit": 1}, time.monotonic() + timeout_s
        version, looked_at = None, float("-inf")
        with self._file.reading() as connection:
            while owner_id in self._owners.here:
                now, before = time.monotonic(), version
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != before or now >= looked_at + LOOK_S:
                    looked_at = now
                    if self._found(connection, values, offer.takeover_s):
                        return True
                if now >= deadline:
                    return False
                time.sleep(max(0.0, min(POLL_S, deadline - now)))
        return False

    def _found(self, connection: sqlite3.Connection, values: dict[str, Any], takeover_s: float) -> list[Any]:
        now = now_us()
        alive = [
            owner
            for owner, seen_us in connection.execute(_OWNERS).fetchall()
            if not self._owners.is_dead(owner, max(0, now - seen_us) / 1e6, takeover_s)
        ]
        return connection.execute(_FIND, {**values, "now": now, "alive": json.dumps(alive)}).fetchall()

    def keep(self, owner_id: str, run_ids: Sequence[str]) -> int:
        with self._owners.transaction() as connection:
            return connection.execute(_KEEP, (owner_id, json.dumps(list(run_ids)))).rowcount

    # -- conductors -----------------------------------------------------------------------------

    def say(self, conductor: Conductor) -> None:
        said = (
            conductor.owner, json.dumps(conductor.factories), json.dumps(conductor.queues), conductor.runs,
            conductor.max_runs, int(conductor.draining),
        )  # fmt: skip
        with self._owners.transaction() as connection:
            connection.execute(_SWEEP)
            connection.execute(_SAY, said)

    def conductors(self) -> list[Conductor]:
        with self._owners.looking() as connection:
            rows = connection.execute(_CONDUCTORS).fetchall()
        now = now_us()
        return [
            Conductor(
                owner=owner, host=host, pid=pid, app=app, factories=tuple(json.loads(factories)),
                queues=tuple(json.loads(queues)), runs=runs, max_runs=max_runs, draining=bool(draining),
                seen_s=max(0, now - seen_us) / 1e6,
            )
            for owner, host, pid, app, factories, queues, runs, max_runs, draining, seen_us in rows
        ]  # fmt: skip

    # -- jobs -----------------------------------------------------------------------------------

    def jobs(self, *, app: str | None = None, after: str = "", limit: int = 100) -> list[Job]:
        with self._owners.looking() as connection:
            return [_job(row) for row in connection.execute(_JOBS, (after, app, app, limit)).fetchall()]

    def job(self, run_id: str) -> Job | None:
        with self._owners.looking() as connection:
            row = connection.execute(_ONE, (run_id,)).fetchone()
        return None if row is None else _job(row)

    def note(self, run_id: str, remark: Remark, *, reason: str, actor: str) -> None:
        with self._owners.transaction() as connection:
            connection.execute(_NOTE, (run_id, remark, reason, actor, now_us()))

    def forget(self, run_id: str) -> None:
        with self._owners.transaction() as connection:
            connection.execute(_FORGET, (run_id,))

    def free(self, run_id: str) -> bool:
        with self._owners.transaction() as connection:
            return connection.execute(_FREE, (run_id,)).rowcount > 0


def _asked(owner_id: str, offer: Offer, but: Sequence[str]) -> dict[str, Any]:
    return {
        "app": offer.app, "factories": json.dumps(list(offer.factories)), "queues": json.dumps(list(offer.queues)),
        "me": owner_id, "but": json.dumps(list(but)),
    }  # fmt: skip


def _job(row: Sequence[Any]) -> Job:
    run_id, *stream, seen_us, epoch, created_us, remark, reason, actor, at_us, times = row
    app, factory, key, queue, priority, status, wake_at_us, owner, host, pid = stream
    note = None
    if remark is not None:
        note = Note(run_id=run_id, remark=remark, reason=reason, actor=actor, at_us=at_us, times=times)
    return Job(
        run_id=run_id, app=app, factory=factory, key=key, queue=queue, priority=priority, status=status,
        wake_at_us=wake_at_us, owner=owner, host=host, pid=pid,
        seen_s=None if seen_us is None else max(0, now_us() - seen_us) / 1e6,
        epoch=epoch, created_us=created_us, note=note,
    )  # fmt: skip
