"""Inboxes on Postgres (rules B7, C2, G1): mail is put in by one statement; an append takes out what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowledger.events.store import FINAL, Due, Inbox, InboxRow, Mail, NotSent, Sent

from .connecting import GuardedConnection
from .database import PostgresDatabase
from .side import Side
from .statements import Statements
from .wire import original, stored

_FINAL: Final = sorted(FINAL)


class PostgresInbox:
    """The inboxes of a log."""

    def __init__(self, database: PostgresDatabase, statements: Statements, side: Side) -> None:
        self._database = database
        self._texts = statements
        self._side = side

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        """See `Store.send`."""
        if not batch:
            return []
        values = (
            [stored(mail.run_id) for mail in batch],
            [stored(mail.id) for mail in batch],
            [stored(mail.kind) for mail in batch],
            [mail.content for mail in batch],
            [stored(mail.actor) for mail in batch],
            [int(mail.live) for mail in batch],
            _FINAL,
        )
        rows = self._rows(self._texts.send, values)
        self._side.sent(to_nobody=any(owner is None for _, _, owner, _ in rows))
        found = {original(run_id): (status, owner and original(owner)) for run_id, status, owner, _ in rows}
        return [_result(mail, *found.get(mail.run_id, (None, None))) for mail in batch]

    def inbox(self, run_id: str, after: int) -> Inbox:
        """See `Store.inbox`."""
        rows = self._rows(self._texts.inbox, (after, stored(run_id)))
        return Inbox(rows[0][0] if rows else 0, [_row(row) for _, *row in rows if row[0] is not None])

    def due(self, owner_id: str, seen: Mapping[str, int], timeout_s: float) -> Due:
        """See `Store.due`."""
        return Due(self._side.polling.mail(owner_id, seen, timeout_s))

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        def execute(connection: GuardedConnection) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

        return self._database.reading(execute)


def _result(mail: Mail, status: Any, owner: str | None) -> Sent | NotSent:
    return NotSent(status) if status is None or (mail.live and status in FINAL) else Sent(status, owner)


def _row(row: Sequence[Any]) -> InboxRow:
    found = InboxRow._make(row)
    return found._replace(id=original(found.id), kind=original(found.kind), actor=original(found.actor))
