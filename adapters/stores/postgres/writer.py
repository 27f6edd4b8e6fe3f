"""The append on Postgres (rules A1 to A3): one statement, which is one transaction and one round trip.

Version and epoch are checked inside it; who is refused is left out of its answer and read back. Whatever goes wrong on
the way, the store looks before it sends anything again: our hash at ``expected + 1`` tells what has arrived.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import psycopg

from flowledger.adapters.failpoint import reach
from flowledger.adapters.stores.batch import begotten_late, check, has_unseen, no_such_run, refusal
from flowledger.events.errors import KeyTaken, StoreError
from flowledger.events.store import Append, Appended, AppendResult

from .connecting import GuardedConnection, Lost, Patience
from .database import Link, PostgresDatabase
from .exchange import Answer, Exchange
from .statements import Statements
from .unavailable import MET, UNFIT
from .wire import blobs, flag, int4, int8, ints, optional, text, texts, whole, words

#: A lone run with at most so many events takes the statement without arrays, which costs the server half.
SINGLE_EVENTS = 4

_UNFIT = (*UNFIT, struct.error, UnicodeError, OverflowError)
_KEEP_SYNC = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


class _Found(NamedTuple):
    """A run as `Statements.look` finds it; None where there is nothing."""

    epoch: int | None
    version: int | None
    requests: int | None
    hash: bytes | None
    key_holder: str | None
    parent_epoch: int | None


class PostgresWriter:
    """The one appending connection of a store. ``commits`` and ``statements`` count what it has executed."""

    def __init__(self, database: PostgresDatabase, statements: Statements) -> None:
        self.commits = 0
        self.statements = 0
        self._database = database
        self._texts = statements
        self._lock = Lock()
        self._link = Link(database, self._set_up)
        self._exchange: Exchange | None = None

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        """See `Store.append`."""
        check(batch)
        if not batch:
            return []
        with self._lock, self._database.guarded():
            return self._append(batch)

    def close(self) -> None:
        """Close the connection, once the append under way has ended."""
        with self._lock:
            self._exchange = None
            self._link.close()

    # -- a batch --------------------------------------------------------------------------------

    def _append(self, batch: Sequence[Append]) -> list[AppendResult]:
        results: dict[str, AppendResult] = {}
        patience: Patience | None = None
        left = list(batch) if len(batch) == 1 else sorted(batch, key=lambda request: request.run_id)
        while left:
            try:
                self._turn(left, results)
            except _UNFIT as error:
                results.update(self._unfit(left, error))
            except (Lost, *MET) as error:
                patience = patience or Patience(self._database.location.reconnect_s)
                self._look_patiently(left, results, patience, error)
            left = [request for request in left if request.run_id not in results]
        return [results[request.run_id] for request in batch]

    def _turn(self, left: Sequence[Append], results: dict[str, AppendResult]) -> None:
        """Send all, then read back those that are not in the answer."""
        accepted = self._send(left)
        refused: list[Append] = []
        for request in left:
            if request.run_id in accepted:
                results[request.run_id] = Appended(request.events[-1].version)
            else:
                refused.append(request)
        if refused:
            self._look(refused, results)

    def _unfit(self, left: Sequence[Append], error: BaseException) -> dict[str, AppendResult]:
        """Somebody in the batch is at fault; each in a statement of its own shows who, and harms nobody else."""
        if len(left) > 1:
            return {request.run_id: self._append((request,))[0] for request in left}
        request = left[0]
        said = str(error).split("\n")[0]
        span = f"{request.expected + 1} to {request.events[-1].version}"
        refused = StoreError(
            f"run {request.run_id}: the database refuses events {span}: {said}",
            hint="run `flowledger verify`: the stream row and the log may disagree",
        )
        return {request.run_id: refused}

    # -- sending --------------------------------------------------------------------------------

    def _send(self, requests: Sequence[Append]) -> set[str]:
        """Execute the one statement; the runs whose events are durable now."""
        statement, values = self._statement(requests)
        for point in ("append.before_begin", "append.after_begin", "append.after_insert", "append.before_commit"):
            reach(point)  # inside the server; what a crash between them leaves is what a crash before it leaves
        answer = self._execute(statement, values)
        if answer.has_rows:
            accepted = {words(run_id) for run_id in answer.column()}
        else:
            accepted = {requests[0].run_id} if answer.changed else set[str]()
        self.commits += bool(accepted)
        reach("append.after_commit")
        return accepted

    def _statement(self, requests: Sequence[Append]) -> tuple[str, list[bytes | None]]:
        mail = any(r.seen is not None or r.answers for r in requests)
        plain = all(r.create is None and not r.plans and not r.payloads for r in requests)
        if not plain:
            return self._texts.full(mail=mail), _full(requests, mail=mail)
        if len(requests) == 1 and len(requests[0].events) <= SINGLE_EVENTS:
            return self._texts.single(len(requests[0].events), mail=mail), _single(requests[0], mail=mail)
        return self._texts.many(mail=mail), [*_advance(requests, mail=mail), *_events(requests)]

    def _execute(self, statement: str, values: Sequence[bytes | None]) -> Answer:
        self.statements += 1
        try:
            connection = self._link.connection()
            if self._exchange is None or self._exchange.connection is not connection:
                self._exchange = Exchange(connection, prepares=not self._database.location.pooled)
            return self._exchange.execute(statement, values)
        except psycopg.Error as error:
            if self._link.lost(error):
                raise Lost(error) from error
            raise

    def _set_up(self, connection: GuardedConnection) -> None:
        """No commit that power loss undoes (unless a pooler has the session)."""
        if not self._database.location.pooled:
            connection.execute(_KEEP_SYNC, prepare=False)

    # -- looking --------------------------------------------------------------------------------

    def _look_patiently(
        self, left: Sequence[Append], results: dict[str, AppendResult], patience: Patience, error: Exception
    ) -> None:
        """Settle what can be settled after an error; what has not arrived is left to be sent again."""
        while True:
            try:
                self._look(left, results)
                settled = not patience.over() or all(request.run_id in results for request in left)
            except Lost as lost:
                error, settled = lost, False
            if settled:
                return
            if patience.over():
                raise self._database.unavailable(error.error if isinstance(error, Lost) else error) from error
            patience.pause()

    def _look(self, left: Sequence[Append], results: dict[str, AppendResult]) -> None:
        """Read runs back (A3): what has arrived, and who is refused. Nothing is said of a run that may be sent."""
        rows = self._execute(self._texts.look, _looked_for(left)).rows()
        found = {
            words(run_id): _Found(
                whole(epoch),
                whole(version),
                whole(requests),
                hash_,
                None if holder is None else words(holder),
                whole(parent_epoch),
            )
            for run_id, epoch, version, requests, hash_, holder, parent_epoch in rows
        }
        for request in left:
            result = _judged(request, found[request.run_id])
            if result is not None:
                results[request.run_id] = result


def _judged(request: Append, found: _Found) -> AppendResult | None:
    """What became of an append, or None: nothing, and nothing stands against it."""
    new = request.create
    if found.version is None or found.epoch is None or found.requests is None:
        if new is None:
            return no_such_run(request)
        if found.key_holder is None:
            late = new.parent is not None and found.parent_epoch != new.parent_epoch
            return begotten_late(new, found.parent_epoch) if late else None
        return KeyTaken(f"key {new.key!r} of {new.factory} belongs to run {found.key_holder}", run_id=found.key_holder)
    if found.epoch == request.epoch and found.hash == request.events[0].hash:
        return Appended(request.events[-1].version)
    stands = new is None and (found.epoch, found.version) == (request.epoch, request.expected) and found.hash is None
    if stands and not has_unseen(request, found.requests):
        return None
    return refusal(request, epoch=found.epoch, version=found.version, requests=found.requests)


# -- parameters, in the order of the statements ----------------------------------------------------


def _single(request: Append, *, mail: bool) -> list[bytes | None]:
    last = request.events[-1]
    values = [
        request.status.encode(), request.direction.encode(), optional(request.wake_at_us), int8(last.version),
        last.hash, flag(request.release), text(request.run_id), int8(request.expected), int8(request.epoch),
    ]  # fmt: skip
    if mail:
        values += (optional(request.seen), optional(request.seen), ints(request.answers))
    for e in request.events:
        values += (
            int8(e.version), e.type.encode(), int4(e.schema_version), text(e.path), int8(e.time_us), text(e.actor),
            e.payload, e.hash,
        )  # fmt: skip
    return values


def _advance(requests: Sequence[Append], *, mail: bool) -> list[bytes | None]:
    run_ids = texts([r.run_id for r in requests])
    lasts = [r.events[-1] for r in requests]
    return [
        run_ids,
        ints([r.expected for r in requests]),
        ints([r.epoch for r in requests]),
        texts([r.status for r in requests]),
        texts([r.direction for r in requests]),
        ints([r.wake_at_us for r in requests]),
        ints([e.version for e in lasts]),
        blobs([e.hash for e in lasts]),
        ints([int(r.release) for r in requests]),
        *([ints([r.seen for r in requests])] if mail else ()),
        run_ids,
        *(_answered(requests) if mail else ()),
    ]


def _answered(requests: Sequence[Append]) -> list[bytes | None]:
    return [
        texts([r.run_id for r in requests for _ in r.answers]),
        ints([number for r in requests for number in r.answers]),
    ]


def _events(requests: Sequence[Append]) -> list[bytes | None]:
    events = [e for r in requests for e in r.events]
    return [
        texts([r.run_id for r in requests for _ in r.events]),
        ints([e.version for e in events]),
        texts([e.type for e in events]),
        ints([e.schema_version for e in events]),
        texts([e.path for e in events]),
        ints([e.time_us for e in events]),
        texts([e.actor for e in events]),
        blobs([e.payload for e in events]),
        blobs([e.hash for e in events]),
    ]


def _full(requests: Sequence[Append], *, mail: bool) -> list[bytes | None]:
    return [
        *_advance([r for r in requests if r.create is None], mail=mail),
        *_created(requests),
        *_events(requests),
        texts([r.run_id for r in requests for _ in r.payloads]),
        texts([p.digest for r in requests for p in r.payloads]),
        blobs([p.content for r in requests for p in r.payloads]),
        texts([r.run_id for r in requests for _ in r.plans]),
        texts([p.fingerprint for r in requests for p in r.plans]),
        blobs([p.document for r in requests for p in r.plans]),
    ]


def _created(requests: Sequence[Append]) -> list[bytes | None]:
    """The parents, then an array for each column of ``streams``, then who begets each run, as in `statements`."""
    made = [(r, r.create) for r in requests if r.create is not None]
    return [
        texts([new.parent for _, new in made if new.parent is not None]),
        texts([r.run_id for r, _ in made]),
        texts([new.app for _, new in made]),
        texts([new.factory for _, new in made]),
        texts([new.key for _, new in made]),
        texts([new.inputs_digest for _, new in made]),
        texts([json.dumps(dict(new.tags)) for _, new in made]),
        texts([new.queue for _, new in made]),
        ints([new.priority for _, new in made]),
        texts([r.status for r, _ in made]),
        texts([r.direction for r, _ in made]),
        ints([r.wake_at_us for r, _ in made]),
        texts([None if r.release else new.owner for r, new in made]),
        ints([0 if new.owner is None else 1 for _, new in made]),
        ints([r.events[-1].version for r, _ in made]),
        blobs([r.events[-1].hash for r, _ in made]),
        ints([r.events[0].time_us for r, _ in made]),
        texts([new.parent for _, new in made]),
        ints([new.parent_epoch for _, new in made]),
    ]


def _looked_for(requests: Sequence[Append]) -> list[bytes | None]:
    new = [r.create for r in requests]
    return [
        texts([r.run_id for r in requests]),
        ints([r.expected + 1 for r in requests]),
        texts([None if n is None else n.app for n in new]),
        texts([None if n is None else n.factory for n in new]),
        texts([None if n is None else n.key for n in new]),
        texts([None if n is None else n.parent for n in new]),
    ]
