"""The append transaction on SQLite (rules A1 to A3): the hot path, straight on the driver's connection.

A run's turn is one UPDATE that checks version and epoch, and one INSERT per event; a batch shares one COMMIT. The
UPDATE's row count tells who was refused, so that a refused run leaves nothing and disturbs nobody.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.pool import PoolProxiedConnection

from flowledger.adapters.failpoint import reach
from flowledger.events.errors import KeyTaken, StoreError
from flowledger.events.store import Append, Appended, AppendResult, NewStream

from .batch import begotten_late, check, no_such_run, refusal
from .sqlite_file import SqliteFile, ask_often, begin, driver

_ADVANCE = (
    "UPDATE streams SET status = ?, direction = ?, wake_at_us = ?, version = ?, head_hash = ?{release} "
    "WHERE run_id = ? AND version = ? AND epoch = ?"
)
_KEEP, _RELEASE = _ADVANCE.format(release=""), _ADVANCE.format(release=", owner = NULL")
_IF_SEEN = " AND requests <= ?"  # only in an append that ends or suspends the run (G1)
_ANSWER = "DELETE FROM inbox WHERE run_id = ? AND number = ?"
_CREATE = (
    "INSERT INTO streams (run_id, app, factory, key, inputs_digest, tags, queue, priority, status, direction, "
    "wake_at_us, owner, epoch, version, head_hash, created_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_EVENT = (
    "INSERT INTO events (run_id, version, type, schema_version, path, time_us, actor, payload, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Not ON CONFLICT: the trigger that refuses to replace rows would fire first.
_PAYLOAD = (
    "INSERT INTO payloads (run_id, digest, content) SELECT ?1, ?2, ?3 "
    "WHERE NOT EXISTS (SELECT 1 FROM payloads WHERE run_id = ?1 AND digest = ?2)"
)
_PLAN = (
    "INSERT INTO plans (fingerprint, document) SELECT ?1, ?2 "
    "WHERE NOT EXISTS (SELECT 1 FROM plans WHERE fingerprint = ?1)"
)
_KEY_HOLDER = "SELECT run_id FROM streams WHERE app = ? AND factory = ? AND key = ?"
_HEAD = "SELECT epoch, version, requests FROM streams WHERE run_id = ?"
_HASH = "SELECT hash FROM events WHERE run_id = ? AND version = ?"

# What the database or its driver has against a row, as opposed to being unable to write any.
_UNFIT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError, UnicodeError)


class SqliteWriter:
    """The one writing connection of a store. ``commits`` and ``statements`` count what it has executed."""

    def __init__(self, file: SqliteFile) -> None:
        self.commits = 0
        self.statements = 0
        self._file = file
        self._pooled: PoolProxiedConnection = file.connection()
        self._connection = driver(self._pooled)
        ask_often(self._connection)

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        """See `Store.append`."""
        check(batch)
        with self._file.turns, self._file.guarded():
            try:
                return self._transaction(batch)
            except _UNFIT as error:
                if len(batch) > 1:
                    return [self._alone(request) for request in batch]
                return [_unfit(batch[0], error)]

    def close(self) -> None:
        """Give the connection back."""
        with self._file.turns:
            self._pooled.close()

    def _alone(self, request: Append) -> AppendResult:
        """Somebody in the batch is at fault; each in a transaction of its own shows who, and harms nobody else."""
        try:
            return self._transaction((request,))[0]
        except _UNFIT as error:
            return _unfit(request, error)

    def _transaction(self, batch: Sequence[Append]) -> list[AppendResult]:
        reach("append.before_begin")
        self.statements += 1
        begin(self._connection)
        try:
            reach("append.after_begin")
            moved: list[Append] = []
            results = [self._move(request, moved) for request in batch]
            self._insert_events(moved)
            reach("append.after_insert")
            self._insert_values(moved)
        except BaseException:
            self._roll_back()
            raise
        reach("append.before_commit")
        self._commit(moved)
        reach("append.after_commit")
        return results

    def _move(self, request: Append, moved: list[Append]) -> AppendResult:
        """Advance or make the stream row: here, and only here, an append is let through (and noted) or refused."""
        new = request.create
        if new is not None and new.parent is not None:
            head = self._execute(_HEAD, new.parent).fetchone()
            if head is None or head[0] != new.parent_epoch:
                return begotten_late(new, None if head is None else head[0])
        row = self._advance(request) if new is None else self._create(request, new)
        if row.rowcount:
            moved.append(request)
            return Appended(request.events[-1].version)
        return self._refused(request)

    def _advance(self, request: Append) -> sqlite3.Cursor:
        last = request.events[-1]
        statement = _RELEASE if request.release else _KEEP
        values = (
            request.status, request.direction, request.wake_at_us, last.version, last.hash,
            request.run_id, request.expected, request.epoch,
        )  # fmt: skip
        if request.seen is None:
            return self._execute(statement, *values)
        return self._execute(statement + _IF_SEEN, *values, request.seen)

    def _create(self, request: Append, new: NewStream) -> sqlite3.Cursor:
        last = request.events[-1]
        return self._execute(
            _CREATE,
            request.run_id, new.app, new.factory, new.key, new.inputs_digest, json.dumps(dict(new.tags)), new.queue,
            new.priority, request.status, request.direction, request.wake_at_us,
            None if request.release else new.owner, 0 if new.owner is None else 1,
            last.version, last.hash, request.events[0].time_us,
        )  # fmt: skip

    def _refused(self, request: Append) -> AppendResult:
        """Read the run back (A3). What was sent before and did arrive is not refused."""
        head = self._execute(_HEAD, request.run_id).fetchone()
        if head is None:
            return self._never_created(request)
        epoch, version, requests = head
        if epoch == request.epoch and self._arrived(request):
            return Appended(request.events[-1].version)
        return refusal(request, epoch=epoch, version=version, requests=requests)

    def _never_created(self, request: Append) -> AppendResult:
        new = request.create
        if new is None:
            return no_such_run(request)
        holder: str = self._execute(_KEY_HOLDER, new.app, new.factory, new.key).fetchone()[0]
        return KeyTaken(f"key {new.key!r} of {new.factory} belongs to run {holder}", run_id=holder)

    def _arrived(self, request: Append) -> bool:
        first = request.events[0]
        stored = self._execute(_HASH, request.run_id, first.version).fetchone()
        return stored is not None and stored[0] == first.hash

    def _insert_events(self, requests: Sequence[Append]) -> None:
        rows = [
            (r.run_id, e.version, e.type, e.schema_version, e.path, e.time_us, e.actor, e.payload, e.hash)
            for r in requests
            for e in r.events
        ]
        if rows:
            self._connection.executemany(_EVENT, rows)
            self.statements += 1

    def _insert_values(self, requests: Sequence[Append]) -> None:
        for request in requests:
            for payload in request.payloads:
                self._execute(_PAYLOAD, request.run_id, payload.digest, payload.content)
            for plan in request.plans:
                self._execute(_PLAN, plan.fingerprint, plan.document)
            for number in request.answers:
                self._execute(_ANSWER, request.run_id, number)

    def _commit(self, moved: Sequence[Append]) -> None:
        try:
            self._execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            # The commit may have happened before the error: look, never send again blindly (A3).
            if not moved or not self._arrived(moved[0]):
                raise
        self.commits += bool(moved)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        self.statements += 1
        return self._connection.execute(statement, values)


def _unfit(request: Append, error: BaseException) -> StoreError:
    return StoreError(
        f"run {request.run_id}: the database refuses events {request.expected + 1} to {request.events[-1].version}: "
        f"{error}",
        hint="run `flowledger verify`: the stream row and the log may disagree",
    )
