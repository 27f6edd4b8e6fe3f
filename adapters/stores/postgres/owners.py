"""Owners and claims on Postgres (rules B1, B2, F1): heartbeat rows, presence locks, epochs, the database's clock."""

from __future__ import annotations

from hashlib import sha256
from threading import Lock
from typing import Any, Final, NamedTuple

from flowledger.events.errors import Fenced
from flowledger.events.store import Claim, Held, Owner

from .connecting import GuardedConnection, Lost
from .database import Link, PostgresDatabase
from .ready import NOW
from .side import Side
from .wire import original, stored

_CLOCK: Final = "SELECT {now}"
_JOIN: Final = (
    "INSERT INTO {s}.owners (id, host, pid, app, last_seen_us, presence) VALUES (%s, %s, %s, %s, {now}, %s) "
    "ON CONFLICT (id) DO UPDATE SET last_seen_us = EXCLUDED.last_seen_us RETURNING id"
)
_BEAT: Final = "UPDATE {s}.owners SET last_seen_us = {now} WHERE id = %s RETURNING last_seen_us"
_LEAVE: Final = "DELETE FROM {s}.owners WHERE id = %s RETURNING id"
_EXPIRE: Final = "DELETE FROM {s}.owners WHERE last_seen_us < {now} - 86400000000 RETURNING id"
_OWNED: Final = (
    "SELECT s.owner, s.epoch, s.version, s.head_hash, o.host, o.pid, "
    "greatest(0, {now} - o.last_seen_us) / 1e6::float8 "
    "FROM {s}.streams s LEFT JOIN {s}.owners o ON o.id = s.owner WHERE s.run_id = %s"
)
# Whoever can take a presence lock knows that nobody holds it. Shared: claimers do not stand in each other's way.
_TAKE: Final = (
    "UPDATE {s}.streams s SET owner = %s, epoch = s.epoch + 1 "
    "WHERE s.run_id = %s AND s.epoch = %s AND s.owner IS NOT DISTINCT FROM %s::text "
    "AND NOT EXISTS (SELECT FROM {s}.owners o WHERE o.id = s.owner "
    "AND {now} - o.last_seen_us <= %s::float8 * 1000000 "
    "AND (o.presence IS NULL OR NOT pg_try_advisory_xact_lock_shared(o.presence))) "
    "RETURNING s.epoch, s.version, s.head_hash"
)
# In a transaction of its own, as every reading: a lock that could be taken is free again at once.
_DRIVER: Final = (
    "SELECT s.owner, o.host, o.pid, greatest(0, {now} - o.last_seen_us) / 1e6::float8 "
    "FROM {s}.streams s JOIN {s}.owners o ON o.id = s.owner WHERE s.run_id = %s "
    "AND (o.presence IS NULL OR NOT pg_try_advisory_xact_lock_shared(o.presence))"
)
_GIVE_UP: Final = "UPDATE {s}.streams SET owner = NULL WHERE run_id = %s AND epoch = %s RETURNING run_id"

#: Others of our process have to wait while a beat is under way, so it does not wait long for a lost connection.
_BEAT_PATIENCE_S: Final = 1.0


class _Owned(NamedTuple):
    """A stream row with what is known of its owner."""

    owner: str | None
    epoch: int
    version: int
    head_hash: bytes
    host: str | None
    pid: int | None
    seen_s: float | None

    def held(self) -> Held:
        """The refusal of a claim."""
        return Held(original(self.owner or ""), self.host or "", self.pid or 0, self.seen_s or 0.0)


class PostgresOwners:
    """Who lives, and who owns what. Beats go over a connection of their own; presence locks over the side one."""

    def __init__(self, database: PostgresDatabase, side: Side) -> None:
        self._database = database
        self._side = side
        self._lock = Lock()
        self._link = Link(database)

    # -- living ---------------------------------------------------------------------------------

    def join(self, owner: Owner) -> None:
        """See `Store.join`. The lock comes first: a row without it would look like a dead owner's."""
        presence = None if self._database.location.pooled else presence_key(self._database.schema, owner.id)
        if presence is not None:
            self._side.be_present(presence)
        self._beating(_EXPIRE)
        self._beating(_JOIN, stored(owner.id), stored(owner.host), owner.pid, stored(owner.app), presence)

    def beat(self, owner_id: str) -> int:
        """See `Store.beat`."""
        rows = self._beating(_BEAT, stored(owner_id))
        if not rows:
            raise Fenced(f"owner {owner_id} has no row any more: others take it for dead")
        return int(rows[0][0])

    def leave(self, owner_id: str) -> None:
        """See `Store.leave`."""
        self._beating(_LEAVE, stored(owner_id))
        self._side.be_absent(presence_key(self._database.schema, owner_id))

    def now_us(self) -> int:
        """See `Store.now_us`."""
        return int(self._beating(_CLOCK)[0][0])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._link.close()

    def _beating(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement that may be executed twice."""
        text = _text(statement, self._database.schema)
        with self._lock:
            return self._database.patiently(lambda: self._link.execute(text, *values), patience_s=_BEAT_PATIENCE_S)

    # -- owning ---------------------------------------------------------------------------------

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        """See `Store.claim`. Read, then take in one statement what has been read; again if it has changed between."""
        before: _Owned | None = None
        while True:
            found = self._owned(run_id)
            if found is None or (found.owner is not None and original(found.owner) == owner_id):
                return None if found is None else found.held()
            if before is not None and (before.owner, before.epoch) == (found.owner, found.epoch) and found.owner:
                return found.held()
            claim = self._take(run_id, owner_id, found, takeover_s)
            if claim is not None:
                return claim
            before = found

    def driver(self, run_id: str) -> Held | None:
        """See `Store.driver`."""
        rows = self._reading(_DRIVER, stored(run_id))
        return Held(original(rows[0][0]), *rows[0][1:]) if rows else None

    def release(self, run_id: str, *, epoch: int) -> None:
        """See `Store.release`."""
        self._reading(_GIVE_UP, stored(run_id), epoch)

    def _owned(self, run_id: str) -> _Owned | None:
        rows = self._reading(_OWNED, stored(run_id))
        return _Owned._make(rows[0]) if rows else None

    def _take(self, run_id: str, owner_id: str, found: _Owned, takeover_s: float) -> Claim | None:
        values = (stored(owner_id), stored(run_id), found.epoch, found.owner, takeover_s)
        statement = _text(_TAKE, self._database.schema)

        def take(connection: GuardedConnection) -> Claim | None:
            row = connection.execute(statement, values).fetchone()  # pyright: ignore[reportArgumentType]
            return None if row is None else Claim(*row)

        try:
            return self._database.reading_once(take)
        except Lost as lost:
            return self._settled(run_id, owner_id, found, lost)

    def _settled(self, run_id: str, owner_id: str, found: _Owned, lost: Lost) -> Claim | None:
        """The answer to a claim was lost: an epoch that is the next, and ours, tells that it was granted."""
        rows = self._reading(_OWNED + " FOR NO KEY UPDATE OF s", stored(run_id))  # after what is still under way
        now = _Owned._make(rows[0]) if rows else None
        if now is not None and now.owner == stored(owner_id) and now.epoch == found.epoch + 1:
            return Claim(now.epoch, now.version, now.head_hash)
        raise self._database.unavailable(lost.error) from lost

    def _reading(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        text = _text(statement, self._database.schema)
        return self._database.reading(lambda connection: connection.execute(text, values).fetchall())  # pyright: ignore[reportArgumentType]


def _text(statement: str, schema: str) -> str:
    return statement.format(s=schema, now=NOW)


def presence_key(schema: str, owner_id: str) -> int:
    """The number of an owner's advisory lock: 64 bits, signed."""
    return int.from_bytes(sha256(f"{schema}/{owner_id}".encode()).digest()[:8], "big", signed=True)
