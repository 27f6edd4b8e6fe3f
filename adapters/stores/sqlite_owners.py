"""Owners and claims on SQLite (rules B1, B2): heartbeat rows, presence locks, epochs.

On a connection of its own, in turns with the appends of the same process, so that a heartbeat stands behind one of
them at most.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock

from sqlalchemy.pool import PoolProxiedConnection

from flowledger.events.errors import Fenced
from flowledger.events.store import Claim, Held, Owner

from .presence import PresenceLocks
from .sqlite_file import SqliteFile, asking_often, begin, driver

_JOIN = "INSERT INTO owners (id, host, pid, app, last_seen_us) VALUES (?, ?, ?, ?, ?)"
_BEAT = "UPDATE owners SET last_seen_us = ? WHERE id = ?"
_LEAVE = "DELETE FROM owners WHERE id = ?"
_EXPIRE = "DELETE FROM owners WHERE last_seen_us < ?"
_OWNED = (
    "SELECT s.epoch, s.version, s.head_hash, s.owner, o.host, o.pid, o.last_seen_us "
    "FROM streams s LEFT JOIN owners o ON o.id = s.owner WHERE s.run_id = ?"
)
_CLAIM = "UPDATE streams SET owner = ?, epoch = ? WHERE run_id = ?"
_GIVE_UP = "UPDATE streams SET owner = NULL WHERE run_id = ? AND epoch = ?"

#: A row not touched for this long is swept away: long dead, whatever ``takeover_s`` somebody chose.
_EXPIRED_US = 24 * 3600 * 1_000_000


def now_us() -> int:
    """SQLite has no clock but this machine's."""
    return time.time_ns() // 1000


class SqliteOwners:
    """Who lives, and who owns what."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._presence = PresenceLocks(file.path.with_name(file.path.name + "-owners"))
        self.here: set[str] = set()  # who has joined through this object, and not left
        self._lock = Lock()
        self._pooled: PoolProxiedConnection = file.connection()

    def join(self, owner: Owner) -> None:
        """See `Store.join`. Also sweeps away what dead owners have left."""
        with self.transaction() as connection:
            for dead in self._presence.bury_dead():
                connection.execute(_LEAVE, (dead,))
            connection.execute(_EXPIRE, (now_us() - _EXPIRED_US,))
        with self._file.guarded():
            self._presence.take(owner.id)
        with self.transaction() as connection:
            connection.execute(_JOIN, (owner.id, owner.host, owner.pid, owner.app, now_us()))
        self.here.add(owner.id)

    def be_present(self, worker: str) -> None:
        """Hold the presence lock of a worker."""
        with self._file.guarded():
            self._presence.take(worker)

    def be_absent(self, worker: str) -> None:
        """Free it."""
        self._presence.free(worker)

    def beat(self, owner_id: str) -> int:
        """See `Store.beat`."""
        with self.transaction() as connection:
            seen_us = now_us()
            if not connection.execute(_BEAT, (seen_us, owner_id)).rowcount:
                raise Fenced(f"owner {owner_id} has no row any more: others take it for dead")
        return seen_us

    def leave(self, owner_id: str) -> None:
        """See `Store.leave`."""
        self.here.discard(owner_id)
        with self.transaction() as connection:
            connection.execute(_LEAVE, (owner_id,))
        self._presence.free(owner_id)

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        """See `Store.claim`."""
        with self.transaction() as connection:
            row = connection.execute(_OWNED, (run_id,)).fetchone()
            if row is None:
                return None
            epoch, version, head_hash, owner, host, pid, seen_us = row
            seen_s = max(0, now_us() - (seen_us or 0)) / 1e6
            if owner is not None and owner == owner_id:
                return Held(owner, host or "", pid or 0, seen_s if host else 0.0)
            if owner is not None and host is not None and not self.is_dead(owner, seen_s, takeover_s):
                return Held(owner, host, pid, seen_s)
            connection.execute(_CLAIM, (owner_id, epoch + 1, run_id))
            return Claim(epoch + 1, version, head_hash)

    def driver(self, run_id: str) -> Held | None:
        """See `Store.driver`."""
        with self.looking() as connection:
            row = connection.execute(_OWNED, (run_id,)).fetchone()
        if row is None or row[3] is None or row[4] is None or self._presence.is_free(row[3]):
            return None
        _, _, _, owner, host, pid, seen_us = row
        return Held(owner, host, pid, max(0, now_us() - seen_us) / 1e6)

    def release(self, run_id: str, *, epoch: int) -> None:
        """See `Store.release`."""
        with self.transaction() as connection:
            connection.execute(_GIVE_UP, (run_id, epoch))

    def close(self) -> None:
        """Free the locks of owners that have not left: their process is as good as gone."""
        self.here.clear()
        with self._lock:
            self._presence.free_all()
            self._pooled.close()

    def is_dead(self, owner_id: str, seen_s: float, takeover_s: float) -> bool:
        """Whether an owner that has a row is gone all the same (B2)."""
        return seen_s > takeover_s or self._presence.is_free(owner_id)

    @contextmanager
    def looking(self) -> Generator[sqlite3.Connection]:
        """The connection, for reading only: it takes no lock of the file."""
        with self._lock, self._file.guarded():
            yield driver(self._pooled)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """The connection in a transaction of its own, which is committed at the end."""
        with self._lock, self._file.turns, self._file.guarded():
            connection = driver(self._pooled)
            with asking_often(connection):
                begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
