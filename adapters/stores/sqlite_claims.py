"""Attempts of workers on SQLite: workers on the machine of the file (rules C1 to C4).

Who lives is judged here and not in SQL: the presence locks are files (B2).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from flowledger.events.claims import (
    FRESH_S,
    LOST_S,
    OUTCOME,
    Ask,
    AttemptKey,
    Backlog,
    Claimed,
    KnownWorker,
    Report,
    Sign,
    Unclaimed,
    WorkerRow,
)
from flowledger.events.facts import Phase
from flowledger.events.store import LIVE, Mail

from .backlogs import backlogs, packed
from .sqlite_owners import SqliteOwners, now_us

_DAY_US: Final = 24 * 3600 * 1_000_000
_KEY: Final = 'run_id = ? AND path = ? AND "try" = ? AND attempt = ? AND phase = ?'
_SEEN: Final = (
    "INSERT INTO workers (id, host, pid, app, queues, concurrency, state, running, started_us, last_seen_us) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET last_seen_us = excluded.last_seen_us, "
    "running = excluded.running, state = excluded.state, concurrency = excluded.concurrency, queues = excluded.queues"
)
_STATUS: Final = "SELECT status FROM streams WHERE run_id = ?"
_FOUND: Final = f"SELECT call, worker, last_seen_us, ended_us FROM attempt_claims WHERE {_KEY}"  # noqa: S608
_TAKE: Final = (
    'INSERT INTO attempt_claims (run_id, path, "try", attempt, phase, call, worker, claimed_us, last_seen_us) '
    'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, path, "try", attempt, phase) DO UPDATE SET '
    "call = excluded.call, worker = excluded.worker, claimed_us = excluded.claimed_us, "
    "last_seen_us = excluded.last_seen_us, ended_us = NULL, cancelled = 0, progress = NULL, message = NULL"
)
_END: Final = f"UPDATE attempt_claims SET ended_us = ?, last_seen_us = ? WHERE {_KEY} AND call = ? AND worker = ?"  # noqa: S608
_TOUCH: Final = (
    "UPDATE attempt_claims SET last_seen_us = ?, progress = coalesce(?, progress), "  # noqa: S608
    f"message = CASE WHEN ? IS NULL THEN message ELSE ? END WHERE {_KEY} AND worker = ? AND ended_us IS NULL "
    "RETURNING cancelled"
)
_CANCEL: Final = f"UPDATE attempt_claims SET cancelled = 1 WHERE {_KEY} AND ended_us IS NULL"  # noqa: S608
_OF: Final = (
    'SELECT run_id, path, "try", attempt, phase, call, worker, claimed_us, last_seen_us, ended_us, cancelled, '
    "progress, message FROM attempt_claims WHERE call IS NOT NULL AND run_id IN (SELECT value FROM json_each(?)) "
    'ORDER BY run_id, path, "try", attempt, phase'
)
_WORKERS: Final = (
    "SELECT id, host, pid, app, queues, concurrency, state, started_us, last_seen_us, running FROM workers "
    "WHERE ? IS NULL OR app = ? ORDER BY app, started_us, id"
)
_SAY_UNCLAIMED: Final = "UPDATE owners SET asks = ? WHERE id = ?"
_BACKLOGS: Final = (
    "SELECT app, asks FROM owners WHERE asks IS NOT NULL AND last_seen_us >= ? AND (? IS NULL OR app = ?)"
)
_OVER: Final = (
    "NOT EXISTS (SELECT 1 FROM streams s WHERE s.run_id = t.run_id "
    "AND s.status IN ('PENDING', 'RUNNING', 'SUSPENDING'))"
)
_SWEEP: Final = (
    f"DELETE FROM attempt_claims AS t WHERE last_seen_us < ? AND {_OVER}",  # noqa: S608
    f"DELETE FROM parcels AS t WHERE time_us < ? AND {_OVER}",  # noqa: S608
    "DELETE FROM workers WHERE last_seen_us < ?",
)
_KEEP: Final = (
    'INSERT INTO parcels (run_id, path, "try", attempt, phase, call, content, time_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?) '
    "ON CONFLICT DO NOTHING"
)
_KEPT: Final = f"SELECT content FROM parcels WHERE {_KEY} AND call = ?"  # noqa: S608


class SqliteClaims:
    """See `events.claims.AttemptClaims`. ``put`` puts mail in, within a transaction; ``sent`` tells who waits."""

    def __init__(
        self, owners: SqliteOwners, put: Callable[[sqlite3.Connection, Mail], object], sent: Callable[[], None]
    ) -> None:
        self.lost_s = LOST_S
        self._owners = owners
        self._put = put
        self._sent = sent

    # -- for workers ----------------------------------------------------------------------------

    def join(self, worker: WorkerRow) -> None:
        self._owners.be_present(worker.id)
        with self._owners.transaction() as connection:
            connection.execute(_SWEEP[-1], (now_us() - _DAY_US,))
            connection.execute(_SEEN, (*_row(worker), 0, now_us(), now_us()))

    def claim(self, worker: str, asks: Sequence[Ask]) -> list[bool]:
        if not asks:
            return []
        with self._owners.transaction() as connection:
            alive, answered = self._alive(connection), set[AttemptKey]()
            return [self._claim(connection, worker, ask, alive, answered) for ask in asks]

    def _claim(
        self, connection: sqlite3.Connection, worker: str, ask: Ask, alive: set[str], answered: set[AttemptKey]
    ) -> bool:
        if ask.key in answered or not self._may_begin(connection, worker, ask, alive):
            return False
        answered.add(ask.key)
        now = now_us()
        connection.execute(_TAKE, (*ask.key, ask.call, worker, now, now))
        return True

    def _may_begin(self, connection: sqlite3.Connection, worker: str, ask: Ask, alive: set[str]) -> bool:
        status = connection.execute(_STATUS, (ask.key.run_id,)).fetchone()
        if status is None or status[0] not in LIVE:
            return False
        found = connection.execute(_FOUND, ask.key).fetchone()
        if found is None or found[0] is None:
            return True
        call, holder, seen_us, ended_us = found
        if call == ask.call:
            return bool(holder == worker) and ended_us is None
        return call < ask.call and (ended_us is not None or not self._lives(holder, seen_us, alive))

    def report(self, worker: str, reports: Sequence[Report]) -> None:
        if not reports:
            return
        with self._owners.transaction() as connection:
            for report in reports:
                connection.execute(_END, (now_us(), now_us(), *report.key, report.call, worker))
                self._put(connection, Mail(report.key.run_id, report.mail_id, OUTCOME, report.content, worker))
        self._sent()

    def beat(self, worker: WorkerRow, running: Sequence[Sign]) -> list[AttemptKey]:
        with self._owners.transaction() as connection:
            connection.execute(_SEEN, (*_row(worker), len(running), now_us(), now_us()))
            return [sign.key for sign in running if not _touched(connection, worker.id, sign)]

    def leave(self, worker: str) -> None:
        with self._owners.transaction() as connection:
            connection.execute("DELETE FROM workers WHERE id = ?", (worker,))
        self._owners.be_absent(worker)

    # -- for engines and people -----------------------------------------------------------------

    def of(self, run_ids: Sequence[str]) -> list[Claimed]:
        if not run_ids:
            return []
        with self._owners.looking() as connection:
            rows = connection.execute(_OF, (json.dumps(list(run_ids)),)).fetchall()
            alive = self._alive(connection)
        return [self._claimed(row, alive) for row in rows]

    def _claimed(self, row: Sequence[Any], alive: set[str]) -> Claimed:
        call, worker, claimed_us, seen_us, ended_us, cancelled, fraction, message = row[5:]
        ended = ended_us is not None
        lives = not ended and self._lives(worker, seen_us, alive)
        return Claimed(
            _key(row), call, worker, claimed_us, _since_s(seen_us), ended, lives, bool(cancelled), fraction,
            message or "",
        )  # fmt: skip

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        with self._owners.transaction() as connection:
            connection.executemany(_CANCEL, keys)

    def workers(self, app: str | None = None) -> list[KnownWorker]:
        with self._owners.looking() as connection:
            rows = connection.execute(_WORKERS, (app, app)).fetchall()
            alive = self._alive(connection)
        return [_known(row, alive) for row in rows]

    def say_unclaimed(self, owner: str, unclaimed: Sequence[Unclaimed]) -> None:
        with self._owners.transaction() as connection:
            connection.execute(_SAY_UNCLAIMED, (packed(unclaimed), owner))

    def backlogs(self, app: str | None = None) -> list[Backlog]:
        now = now_us()
        with self._owners.looking() as connection:
            rows = connection.execute(_BACKLOGS, (now - round(self.lost_s * 1e6), app, app)).fetchall()
        return backlogs(rows, now)

    def sweep(self) -> None:
        with self._owners.transaction() as connection:
            for statement in _SWEEP:
                connection.execute(statement, (now_us() - _DAY_US,))

    # -- large requests -------------------------------------------------------------------------

    def keep(self, key: AttemptKey, call: int, content: bytes) -> None:
        with self._owners.transaction() as connection:
            connection.execute(_KEEP, (*key, call, content, now_us()))

    def kept(self, key: AttemptKey, call: int) -> bytes | None:
        with self._owners.looking() as connection:
            found = connection.execute(_KEPT, (*key, call)).fetchone()
        return None if found is None else bytes(found[0])

    # -- who lives ------------------------------------------------------------------------------

    def _alive(self, connection: sqlite3.Connection) -> set[str]:
        rows = connection.execute("SELECT id, last_seen_us FROM workers").fetchall()
        return {worker for worker, seen_us in rows if self._is_alive(worker, _since_s(seen_us))}

    def _is_alive(self, worker: str, seen_s: float) -> bool:
        if seen_s <= min(FRESH_S, self.lost_s):
            return True
        return not self._owners.is_dead(worker, seen_s, self.lost_s)

    def _lives(self, worker: str, seen_us: int, alive: set[str]) -> bool:
        return worker in alive and _since_s(seen_us) <= self.lost_s


def _touched(connection: sqlite3.Connection, worker: str, sign: Sign) -> bool:
    """Note a sign of life; whether the attempt is still wanted."""
    values = (now_us(), sign.fraction, sign.fraction, sign.message, *sign.key, worker)
    found = connection.execute(_TOUCH, values).fetchone()
    return found is not None and not found[0]


def _since_s(time_us: int) -> float:
    return max(0, now_us() - time_us) / 1e6


def _row(worker: WorkerRow) -> tuple[object, ...]:
    queues = json.dumps(worker.queues)
    return worker.id, worker.host, worker.pid, worker.app, queues, worker.concurrency, worker.state


def _key(row: Sequence[Any]) -> AttemptKey:
    run_id, path, try_, attempt, phase = row[:5]
    return AttemptKey(run_id, path, try_, attempt, cast("Phase", phase))


def _known(row: Sequence[Any], alive: set[str]) -> KnownWorker:
    id_, host, pid, app, queues, concurrency, state, started_us, seen_us, running = row
    worker = WorkerRow(id_, host, pid, app, tuple(json.loads(queues)), concurrency, state)
    return KnownWorker(worker, started_us, _since_s(seen_us), running, id_ in alive)
