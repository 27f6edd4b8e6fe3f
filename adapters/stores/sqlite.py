"""The log in a SQLite file: the embedded default, made on first use, safe for several processes at once.

Three kinds of connections: one that appends (`SqliteWriter`), one for owners and claims (`SqliteOwners`), and a pool
for reading. SQLite has one writer at a time, so the position of an event is its place in commit order (A4).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Condition
from typing import Any

from sqlalchemy import Select, select

from flowledger.events.envelope import StoredEvent
from flowledger.events.store import (
    Append,
    AppendResult,
    Claim,
    Cursor,
    Due,
    Followed,
    Held,
    Inbox,
    Mail,
    NotSent,
    Owner,
    RunStatus,
    Sent,
    Stream,
)
from flowledger.events.transactions import OutcomeKey

from .batch import position_of
from .kept_keys import SqlRunKeys
from .progressed import SqlProgress
from .sealed import SqlSeals
from .sqlite_append import SqliteWriter
from .sqlite_board import SqliteBoard
from .sqlite_claims import SqliteClaims
from .sqlite_file import SqliteFile, SqliteWays, Synchronous, parse_url
from .sqlite_inbox import SqliteInbox, put
from .sqlite_outbox import append_through
from .sqlite_owners import SqliteOwners, now_us
from .sqlite_schema import attempt_claims, events, payloads, plans, run_keys, sealed_heads, seals
from .sqlite_schema import streams as rows
from .sqlite_transactions import LONGEST_S, SqliteTransactions

#: How often a waiting reader looks for what other processes have appended.
POLL_S = 0.05

_COLUMNS = "version, type, schema_version, path, time_us, actor, payload, hash"
_READ = f"SELECT {_COLUMNS} FROM events WHERE run_id = ? AND version > ? ORDER BY version LIMIT ?"  # noqa: S608
_READ_ALL = f"SELECT position, run_id, {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"  # noqa: S608
_LAST = "SELECT max(position) FROM events"
# From run to run by the index, not through all events.
_STRAYS = (
    "WITH RECURSIVE each (run_id) AS (SELECT min(run_id) FROM events UNION ALL "
    "SELECT (SELECT min(run_id) FROM events WHERE run_id > each.run_id) FROM each WHERE each.run_id IS NOT NULL) "
    "SELECT run_id FROM each WHERE run_id IS NOT NULL AND run_id NOT IN (SELECT run_id FROM streams)"
)


class SqliteStore:
    """The store in the file at ``path``.

    Raises:
        StoreUnavailable: the file cannot be opened, made or written.
        SchemaTooNew, SchemaTooOld: the file was made by another release.
    """

    immediate = False
    transactions = 1
    longest_transaction_s = LONGEST_S

    def __init__(self, path: Path, *, synchronous: Synchronous = "FULL") -> None:
        self._file = SqliteFile(path, synchronous)
        self._writer = SqliteWriter(self._file)
        self._owners = SqliteOwners(self._file)
        self.board = SqliteBoard(self._file, self._owners)
        self._inbox = SqliteInbox(self._file)
        self._transactions = SqliteTransactions(self._file)
        self._appended = Condition()
        ways = SqliteWays(self._file)
        self.progress = SqlProgress(ways, attempt_claims)
        self.claims = SqliteClaims(self._owners, put, self._inbox.sent)
        self.seals = SqlSeals(ways, seals=seals, heads=sealed_heads, events=events)
        self.run_keys = SqlRunKeys(ways, run_keys)

    @classmethod
    def from_url(cls, url: str) -> SqliteStore:
        """The store that ``sqlite:///PATH[?synchronous=FULL|NORMAL]`` names; see `parse_url`."""
        path, synchronous = parse_url(url)
        return cls(path, synchronous=synchronous)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def is_locked(self) -> bool:
        """While a body has the file's one write lock."""
        return self._transactions.open

    @property
    def commits(self) -> int:
        """Append transactions committed by this store object."""
        return self._writer.commits

    @property
    def statements(self) -> int:
        """Statements executed by appends, BEGIN and COMMIT included."""
        return self._writer.statements

    # -- the log --------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        results = self._writer.append(batch)
        with self._appended:
            self._appended.notify_all()
        return results

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        with self._file.reading() as connection:
            found = connection.execute(_READ, (run_id, after_version, -1 if limit is None else limit))
            return [StoredEvent(*row) for row in found]

    def read_all(self, after: Cursor, *, limit: int = 1000) -> list[Followed]:
        with self._file.reading() as connection:
            found = connection.execute(_READ_ALL, (position_of(after), limit))
            return [Followed(Cursor(row[0]), row[1], StoredEvent(*row[2:])) for row in found]

    def hidden(self, *, upto: Cursor | None = None) -> None:
        return None

    def wait(self, after: Cursor, *, timeout_s: float) -> bool:
        position = position_of(after)
        deadline = time.monotonic() + timeout_s
        while True:
            with self._appended:
                if self._last() > position:
                    return True
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._appended.wait(min(POLL_S, left_s))

    def _last(self) -> int:
        with self._file.reading() as connection:
            return connection.execute(_LAST).fetchone()[0] or 0

    # -- rows -----------------------------------------------------------------------------------

    def stream(self, run_id: str) -> Stream | None:
        return next(iter(self._select(select(rows).where(rows.c.run_id == run_id))), None)

    def find(self, *, app: str, factory: str, key: str) -> Stream | None:
        query = select(rows).where(rows.c.app == app, rows.c.factory == factory, rows.c.key == key)
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
            query = query if wanted is None else query.where(column == wanted)
        if prefix:  # a range, for which there is an index, unlike for LIKE
            query = query.where(rows.c.run_id >= prefix, rows.c.run_id < prefix + chr(0x10FFFF))
        if before is not None:
            query = query.where(rows.c.run_id < before)
        if statuses:
            query = query.where(rows.c.status.in_(statuses))
        return self._select(query)

    def _select(self, query: Select[Any]) -> list[Stream]:
        with self._file.selecting() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        return [Stream(**(row | {"tags": json.loads(row["tags"])})) for row in found]

    def strays(self) -> list[str]:
        with self._file.reading() as connection:
            return [run_id for (run_id,) in connection.execute(_STRAYS).fetchall()]

    def payload(self, run_id: str, digest: str) -> bytes | None:
        return self._content(select(payloads.c.content).where(payloads.c.run_id == run_id, payloads.c.digest == digest))

    def plan(self, fingerprint: str) -> bytes | None:
        return self._content(select(plans.c.document).where(plans.c.fingerprint == fingerprint))

    def _content(self, query: Select[bytes]) -> bytes | None:
        with self._file.selecting() as connection:
            return connection.scalar(query)

    # -- inboxes --------------------------------------------------------------------------------

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        return self._inbox.send(batch)

    def inbox(self, run_id: str, *, after: int = 0) -> Inbox:
        return self._inbox.inbox(run_id, after)

    def due(self, owner_id: str, *, seen: Mapping[str, int], timeout_s: float) -> Due:
        return self._inbox.due(owner_id, seen, timeout_s)

    # -- owners ---------------------------------------------------------------------------------

    def now_us(self) -> int:
        return now_us()

    def join(self, owner: Owner) -> None:
        self._owners.join(owner)
        self._inbox.arrive(owner.id)

    def beat(self, owner_id: str) -> int:
        return self._owners.beat(owner_id)

    def leave(self, owner_id: str) -> None:
        self._inbox.depart(owner_id)
        self._owners.leave(owner_id)

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        return self._owners.claim(run_id, owner_id, takeover_s=takeover_s)

    def driver(self, run_id: str) -> Held | None:
        return self._owners.driver(run_id)

    def release(self, run_id: str, *, epoch: int) -> None:
        self._owners.release(run_id, epoch=epoch)

    # -- transactions ---------------------------------------------------------------------------

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        return self._transactions.transact(key, version=version, work=work, timeout_s=timeout_s)

    def append_through(self, connection: Any, request: Append) -> AppendResult:
        return append_through(self._file.path, connection, request)

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        return self._transactions.settle(key, version=version)

    def describe(self) -> str:
        return str(self._file.path)

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.closed = True
        self._inbox.close()
        self._owners.close()
        self._writer.close()
        self._file.dispose()
