"""The store in Postgres, put together.

A process has one connection that appends (`PostgresWriter`), one that beats (`PostgresOwners`), one for all that
happens beside (`Side`), each made when first needed, and a small pool for reading and claiming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, select

from flowledger.adapters.stores.batch import makes_job
from flowledger.adapters.stores.kept_keys import SqlRunKeys
from flowledger.adapters.stores.progressed import SqlProgress
from flowledger.adapters.stores.sealed import SqlSeals
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import (
    Append,
    AppendResult,
    Claim,
    Counted,
    Cursor,
    Due,
    Followed,
    Held,
    Hidden,
    Inbox,
    Mail,
    NotSent,
    Owner,
    RunStatus,
    Sent,
    Stream,
)
from flowledger.events.transactions import OutcomeKey

from . import checking, opening
from .board import PostgresBoard
from .claims import PostgresClaims
from .connecting import GuardedConnection, Lost
from .database import PostgresDatabase
from .following import END, Place, event_of, followed, place_of
from .inbox import PostgresInbox
from .location import Location, locate
from .outbox import PostgresOutbox
from .owners import PostgresOwners
from .schema import attempt_claims, events, payloads, plans, run_keys, sealed_heads, seals
from .schema import streams as rows
from .side import Side
from .statements import OLDEST, Statements
from .transactions import AT_ONCE, LONGEST_S, PostgresTransactions
from .ways import PostgresWays
from .wire import original, stored
from .writer import PostgresWriter

T = TypeVar("T")

_TEXTS = ("run_id", "app", "factory", "key", "inputs_digest", "queue", "owner")


class PostgresStore:
    """The log at a `Location`, which `flowledger db upgrade` has made.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SchemaTooNew, SchemaTooOld: the database is of another release, or has no log yet.
        ClusterChanged: the log has been restored into another cluster, and nobody has said so.
    """

    immediate = False
    transactions = AT_ONCE
    longest_transaction_s = LONGEST_S
    is_locked = False

    def __init__(self, location: Location) -> None:
        self._database = PostgresDatabase(location)
        self._texts = Statements(location.schema)
        try:
            self._check()
        except BaseException:
            self._database.dispose()
            raise
        self._side = Side(self._database, self._texts)
        self._writer = PostgresWriter(self._database, self._texts)
        self._owners = PostgresOwners(self._database, self._side)
        self.board = PostgresBoard(self._database, self._side)
        ways = PostgresWays(self._database)
        self.progress = SqlProgress(ways, attempt_claims)
        self.claims = PostgresClaims(self._database, self._texts, self._side)
        self.seals = SqlSeals(ways, seals=seals, heads=sealed_heads, events=events)
        self._inbox = PostgresInbox(self._database, self._texts, self._side)
        self._outbox = PostgresOutbox(self._database)
        self._transactions = PostgresTransactions(self._database)
        self.run_keys = SqlRunKeys(ways, run_keys)

    @classmethod
    def from_url(cls, url: str, *, schema: str | None = None) -> PostgresStore:
        """The store that ``postgresql+psycopg://…`` names; see `locate`."""
        return cls(locate(url, schema=schema))

    @property
    def location(self) -> Location:
        """Where the log is."""
        return self._database.location

    @property
    def commits(self) -> int:
        """Append transactions committed by this store object."""
        return self._writer.commits

    @property
    def statements(self) -> int:
        """Statements executed by appends; each is a round trip, there is no BEGIN and no COMMIT."""
        return self._writer.statements

    def _check(self) -> None:
        """At the first try: who starts wants to know at once."""
        try:
            with self._database.guarded(), self._database.connecting() as connection:
                opening.check(connection, self._database.location)
        except Lost as lost:
            raise self._database.unavailable(lost.error) from lost

    # -- the log --------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        commits = self._writer.commits
        try:
            return self._writer.append(batch)
        finally:
            if self._writer.commits != commits:
                self._side.appended(jobs=any(makes_job(request) for request in batch))

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        values = (stored(run_id), after_version, limit)
        return [event_of(row) for row in self._rows(self._texts.read, values)]

    def read_all(self, after: Cursor, *, limit: int = 1000) -> list[Followed]:
        place = place_of(after)
        values = (place.generation, str(place.xid), place.position, limit)
        return [followed(row) for row in self._rows(self._texts.read_all, values)]

    def hidden(self, *, upto: Cursor | None = None) -> Hidden | None:
        end = END if upto is None else place_of(upto)
        values = (end.generation, str(end.xid), end.position)
        first, last = (self._rows(text, values) for text in (self._texts.hidden, self._texts.last_hidden))
        if not first or not last:
            return None
        by = self._rows(OLDEST, ())
        _, generation, xid, position = last[0]
        return Hidden(first[0][0], Place(generation, int(xid), position).cursor(), by[0][0] if by else "")

    def wait(self, after: Cursor, *, timeout_s: float) -> bool:
        place = place_of(after)
        if self._database.closed:
            raise StoreUnavailable(f"{self.describe()}: the store has been closed")
        return self._side.polling.events(place, timeout_s)

    def check_log(self) -> Iterator[Counted]:
        return checking.check_log(self._database.location)

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        def read(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

        return self._database.reading(read)

    # -- rows -----------------------------------------------------------------------------------

    def stream(self, run_id: str) -> Stream | None:
        return next(iter(self._select(select(rows).where(rows.c.run_id == stored(run_id)))), None)

    def find(self, *, app: str, factory: str, key: str) -> Stream | None:
        query = select(rows).where(
            rows.c.app == stored(app), rows.c.factory == stored(factory), rows.c.key == stored(key)
        )
        return next(iter(self._select(query)), None)

    def streams(
        self,
        *,
        app: str | None = None,
        key: str | None = None,
        prefix: str | None = None,
        statuses: Sequence[RunStatus] = (),
        factory: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Stream]:
        query = select(rows).order_by(rows.c.run_id.desc()).limit(limit)
        for column, wanted in ((rows.c.app, app), (rows.c.key, key), (rows.c.factory, factory)):
            query = query if wanted is None else query.where(column == stored(wanted))
        if prefix:
            query = query.where(rows.c.run_id >= stored(prefix), rows.c.run_id < stored(prefix) + chr(0x10FFFF))
        if before is not None:
            query = query.where(rows.c.run_id < stored(before))
        if statuses:
            query = query.where(rows.c.status.in_(statuses))
        return self._select(query)

    def _select(self, query: Select[Any]) -> list[Stream]:
        found = self._database.selecting(lambda c: [dict(row) for row in c.execute(query).mappings()])
        return [_stream(row) for row in found]

    def strays(self) -> list[str]:
        return checking.strays(self._database)

    def payload(self, run_id: str, digest: str) -> bytes | None:
        query = select(payloads.c.content).where(payloads.c.run_id == stored(run_id), payloads.c.digest == digest)
        return self._content(query)

    def plan(self, fingerprint: str) -> bytes | None:
        return self._content(select(plans.c.document).where(plans.c.fingerprint == fingerprint))

    def _content(self, query: Select[bytes]) -> bytes | None:
        return self._database.selecting(lambda connection: connection.scalar(query))

    # -- inboxes --------------------------------------------------------------------------------

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        return self._inbox.send(batch)

    def inbox(self, run_id: str, *, after: int = 0) -> Inbox:
        return self._inbox.inbox(run_id, after)

    def due(self, owner_id: str, *, seen: Mapping[str, int], timeout_s: float) -> Due:
        return self._inbox.due(owner_id, seen, timeout_s)

    # -- owners ---------------------------------------------------------------------------------

    def now_us(self) -> int:
        return self._owners.now_us()

    def join(self, owner: Owner) -> None:
        self._owners.join(owner)
        self._side.polling.arrive(owner.id)

    def beat(self, owner_id: str) -> int:
        return self._owners.beat(owner_id)

    def leave(self, owner_id: str) -> None:
        self._side.polling.depart(owner_id)
        self._owners.leave(owner_id)
        self._side.jobs_came()

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        return self._owners.claim(run_id, owner_id, takeover_s=takeover_s)

    def driver(self, run_id: str) -> Held | None:
        return self._owners.driver(run_id)

    def release(self, run_id: str, *, epoch: int) -> None:
        self._owners.release(run_id, epoch=epoch)
        self._side.jobs_came()

    # -- transactions ---------------------------------------------------------------------------

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        return self._transactions.transact(key, version=version, work=work, timeout_s=timeout_s)

    def append_through(self, connection: Any, request: Append) -> AppendResult:
        return self._outbox.append_through(connection, request)

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        return self._transactions.settle(key, version=version)

    def describe(self) -> str:
        return self._database.location.describe()

    def close(self) -> None:
        if self._database.closed:
            return
        self._database.closed = True
        self._side.close()
        self._owners.close()
        self._writer.close()
        self._transactions.close()
        self._database.dispose()


def _stream(row: dict[str, Any]) -> Stream:
    for name in _TEXTS:
        row[name] = row[name] and original(row[name])
    row["tags"] = json.loads(row["tags"])
    return Stream(**row)
