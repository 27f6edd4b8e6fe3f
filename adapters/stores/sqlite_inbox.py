"""Inboxes on SQLite (rules B7, G1): mail is put in here; an append takes out what it answers.

Who waits for mail is woken by what is sent in its process. What other processes send is met by looking: SQLite counts
the commits of others (``data_version``), which costs no I/O, and only where that has moved, the inbox is read.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Condition
from typing import Final

from flowledger.events.store import FINAL, Due, Inbox, InboxRow, Mail, NotSent, Sent

from .mailbox import newer
from .sqlite_file import SqliteFile
from .sqlite_owners import now_us

#: How often who waits for mail looks for what other processes have sent.
POLL_S: Final = 0.1

# A job that nobody owns is due: whoever claims it answers (G1).
_RAISE = (
    "UPDATE streams SET requests = ?, wake_at_us = CASE WHEN owner IS NULL AND queue IS NOT NULL THEN 0 "
    "ELSE wake_at_us END WHERE run_id = ?"
)
_PUT = (
    "INSERT INTO inbox (run_id, number, id, kind, content, actor, time_us) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run_id, id) DO NOTHING"
)
_RUN = "SELECT status, owner, requests FROM streams WHERE run_id = ?"
_REQUESTS = "SELECT requests FROM streams WHERE run_id = ?"
_ROWS = "SELECT number, id, kind, content, actor, time_us FROM inbox WHERE run_id = ? AND number > ? ORDER BY number"
_MAIL = (
    "SELECT i.run_id, max(i.number) FROM inbox i JOIN streams s ON s.run_id = i.run_id WHERE s.owner = ? "
    "GROUP BY i.run_id"
)


class SqliteInbox:
    """The inboxes of a file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._sent = Condition()
        self._sends = 0
        self._here: set[str] = set()

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        """See `Store.send`."""
        with self._file.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                results = [put(connection, mail) for mail in batch]
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        self.sent()
        return results

    def sent(self) -> None:
        """Something has been sent from here: tell who waits."""
        with self._sent:
            self._sends += 1
            self._sent.notify_all()

    def inbox(self, run_id: str, after: int) -> Inbox:
        """See `Store.inbox`."""
        with self._file.reading() as connection:
            connection.execute("BEGIN")  # both reads of one moment
            try:
                found = connection.execute(_REQUESTS, (run_id,)).fetchone()
                rows = connection.execute(_ROWS, (run_id, after)).fetchall()
            finally:
                connection.execute("ROLLBACK")
        return Inbox(0 if found is None else found[0], [InboxRow._make(row) for row in rows])

    # -- waiting --------------------------------------------------------------------------------

    def arrive(self, owner_id: str) -> None:
        """This owner lives in this process: it may wait for mail."""
        self._here.add(owner_id)

    def depart(self, owner_id: str) -> None:
        """It waits no more."""
        with self._sent:
            self._here.discard(owner_id)
            self._sent.notify_all()

    def due(self, owner_id: str, seen: Mapping[str, int], timeout_s: float) -> Due:
        """See `Store.due`."""
        deadline = time.monotonic() + timeout_s
        version = None
        with self._file.reading() as connection:
            while True:
                sends, before = self._sends, version
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                found = {} if version == before else newer(dict(connection.execute(_MAIL, (owner_id,))), seen)
                left_s = deadline - time.monotonic()
                if found or left_s <= 0 or owner_id not in self._here:
                    return Due(found)
                with self._sent:
                    if self._sends == sends and owner_id in self._here:
                        self._sent.wait(min(POLL_S, left_s))

    def close(self) -> None:
        """Nobody waits any more."""
        with self._sent:
            self._here.clear()
            self._sent.notify_all()


def put(connection: sqlite3.Connection, mail: Mail) -> Sent | NotSent:
    """Put mail in, within a transaction."""
    found = connection.execute(_RUN, (mail.run_id,)).fetchone()
    if found is None:
        return NotSent(None)
    status, owner, requests = found
    if mail.live and status in FINAL:
        return NotSent(status)
    number = requests + 1
    connection.execute(_RAISE, (number, mail.run_id))
    connection.execute(_PUT, (mail.run_id, number, mail.id, mail.kind, mail.content, mail.actor, now_us()))
    return Sent(status, owner)
