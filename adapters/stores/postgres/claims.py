"""Attempts of workers in Postgres (rules C1 to C4): every batch is one statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from flowledger.adapters.stores.backlogs import backlogs, packed
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
from flowledger.events.store import LIVE

from .claiming import (
    ALIVE,
    BACKLOGS,
    BEAT,
    CANCEL,
    CLAIM,
    ENDED,
    JOIN,
    KEEP,
    KEPT,
    KEYS,
    LEAVE,
    MATCH,
    OF,
    SAY_UNCLAIMED,
    SWEEP,
    WORKERS,
)
from .connecting import GuardedConnection
from .database import PostgresDatabase
from .owners import presence_key
from .ready import NOW
from .side import Side
from .statements import Statements
from .wire import original, stored

_LIVE: Final = sorted(LIVE)
_DAY_US: Final = 24 * 3600 * 1_000_000


class PostgresClaims:
    """See `events.claims.AttemptClaims`."""

    def __init__(self, database: PostgresDatabase, texts: Statements, side: Side) -> None:
        self.lost_s = LOST_S
        self._database = database
        self._texts = texts
        self._side = side

    # -- for workers ----------------------------------------------------------------------------

    def join(self, worker: WorkerRow) -> None:
        """See the contract. The lock comes first: a row without it would look like a dead worker's."""
        presence = self._presence(worker.id)
        if presence is not None:
            self._side.be_present(presence)
        self._rows(JOIN, (_DAY_US, *_worker(worker), presence))

    def claim(self, worker: str, asks: Sequence[Ask]) -> list[bool]:
        if not asks:
            return []
        values = (*self._alive(), *_keys([ask.key for ask in asks]), [ask.call for ask in asks], _LIVE, stored(worker))
        granted = {(_key(row[:5]), row[5]) for row in self._rows(CLAIM, (*values, self.lost_s))}
        answers: list[bool] = []
        for ask in asks:
            answers.append(tuple(ask) in granted)
            granted.discard((ask.key, ask.call))  # the same once more is not another
        return answers

    def report(self, worker: str, reports: Sequence[Report]) -> None:
        if not reports:
            return
        ended = (*_keys([report.key for report in reports]), [report.call for report in reports], stored(worker))
        mail = (
            [stored(report.key.run_id) for report in reports],
            [stored(report.mail_id) for report in reports],
            [OUTCOME] * len(reports),
            [report.content for report in reports],
            [stored(worker)] * len(reports),
            [0] * len(reports),
            [""],
        )
        rows = self._rows(ENDED + self._texts.send.removeprefix("WITH"), (*ended, *mail))
        self._side.sent(to_nobody=any(owner is None for _, _, owner, _ in rows))

    def beat(self, worker: WorkerRow, running: Sequence[Sign]) -> list[AttemptKey]:
        values = (
            *_worker(worker), len(running), self._presence(worker.id), *_keys([sign.key for sign in running]),
            [sign.fraction for sign in running], [stored(sign.message) for sign in running], stored(worker.id),
        )  # fmt: skip
        return [_key(row) for row in self._rows(BEAT, values)]

    def leave(self, worker: str) -> None:
        self._rows(LEAVE, (stored(worker),))
        presence = self._presence(worker)
        if presence is not None:
            self._side.be_absent(presence)

    # -- for engines and people -----------------------------------------------------------------

    def of(self, run_ids: Sequence[str]) -> list[Claimed]:
        if not run_ids:
            return []
        rows = self._rows(OF, (*self._alive(), self.lost_s, [stored(run_id) for run_id in run_ids]))
        return [_claimed(row) for row in rows]

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        if keys:
            self._rows(CANCEL, _keys(keys))

    def workers(self, app: str | None = None) -> list[KnownWorker]:
        named = None if app is None else stored(app)
        return [_known(row) for row in self._rows(WORKERS, (*self._alive(), named, named))]

    def say_unclaimed(self, owner: str, unclaimed: Sequence[Unclaimed]) -> None:
        said = packed(unclaimed)
        self._rows(SAY_UNCLAIMED, (None if said is None else stored(said), stored(owner)))

    def backlogs(self, app: str | None = None) -> list[Backlog]:
        named = None if app is None else stored(app)
        rows = self._rows(BACKLOGS, (self.lost_s, named, named))
        return backlogs(
            [(original(row[0]), original(row[1])) for row in rows], max((row[2] for row in rows), default=0)
        )

    def sweep(self) -> None:
        self._rows(SWEEP, (_DAY_US, _LIVE, _DAY_US, _LIVE, _DAY_US))

    # -- large requests -------------------------------------------------------------------------

    def keep(self, key: AttemptKey, call: int, content: bytes) -> None:
        self._rows(KEEP, (*_one(key), call, content))

    def kept(self, key: AttemptKey, call: int) -> bytes | None:
        rows = self._rows(KEPT, (*_one(key), call))
        return bytes(rows[0][0]) if rows else None

    # -- inside ---------------------------------------------------------------------------------

    def _presence(self, worker: str) -> int | None:
        return None if self._database.location.pooled else presence_key(self._database.schema, worker)

    def _alive(self) -> tuple[float, float]:
        return self.lost_s, min(FRESH_S, self.lost_s)

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        text = statement.replace("{alive}", ALIVE).replace("{keys}", KEYS).replace("{match}", MATCH)
        text = text.replace("{s}", self._database.schema).replace("{now}", NOW)

        def execute(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(text, values).fetchall()  # pyright: ignore[reportArgumentType]

        return self._database.reading(execute)


def _one(key: AttemptKey) -> tuple[object, ...]:
    return stored(key.run_id), stored(key.path), key.try_, key.attempt, key.phase


def _keys(keys: Sequence[AttemptKey]) -> tuple[list[Any], ...]:
    """As arrays, one per column."""
    return (
        [stored(key.run_id) for key in keys], [stored(key.path) for key in keys], [key.try_ for key in keys],
        [key.attempt for key in keys], [key.phase for key in keys],
    )  # fmt: skip


def _key(row: Sequence[Any]) -> AttemptKey:
    run_id, path, try_, attempt, phase = row[:5]
    return AttemptKey(original(run_id), original(path), try_, attempt, cast("Phase", phase))


def _worker(worker: WorkerRow) -> tuple[object, ...]:
    return (
        stored(worker.id), stored(worker.host), worker.pid, stored(worker.app),
        stored(json.dumps(worker.queues)), worker.concurrency, worker.state,
    )  # fmt: skip


def _claimed(row: Sequence[Any]) -> Claimed:
    call, worker, claimed_us, seen_s, ended, lives, cancelled, fraction, message = row[5:]
    return Claimed(
        _key(row), call, original(worker), claimed_us, seen_s, ended, lives, bool(cancelled), fraction,
        original(message or ""),
    )  # fmt: skip


def _known(row: Sequence[Any]) -> KnownWorker:
    id_, host, pid, app, queues, concurrency, state, started_us, seen_s, running, lives = row
    named = tuple(json.loads(original(queues)))
    worker = WorkerRow(original(id_), original(host), pid, original(app), named, concurrency, state)
    return KnownWorker(worker, started_us, seen_s, running, lives)
