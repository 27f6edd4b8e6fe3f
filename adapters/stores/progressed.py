"""Progress in SQL: in the rows that say who runs an attempt, the same on SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, insert, select, update

from flowledger.events.progress import Note

from .sealed import Ways


class SqlProgress:
    """See `events.progress.ProgressBoard`."""

    def __init__(self, ways: Ways, claims: Table) -> None:
        self._ways = ways
        self._claims = claims

    def write(self, notes: Sequence[Note]) -> None:
        self._ways.transacting(lambda connection: self._write(connection, notes))

    def of(self, run_id: str) -> list[Note]:
        columns = self._claims.c
        query = (
            select(self._claims)
            .where(
                columns.run_id == self._ways.stored(run_id),
                columns.progress.is_not(None),
                columns.phase == "execute",
            )
            .order_by(columns.path)
        )
        rows = self._ways.selecting(lambda connection: list(connection.execute(query).mappings()))
        return [self._note(row) for row in rows]

    def forget(self, run_id: str, worker: str) -> None:
        columns = self._claims.c
        gone = delete(self._claims).where(
            columns.run_id == self._ways.stored(run_id), columns.worker == self._ways.stored(worker)
        )
        self._ways.transacting(lambda connection: connection.execute(gone))

    def _write(self, connection: Connection, notes: Sequence[Note]) -> None:
        columns, stored = self._claims.c, self._ways.stored
        for note in notes:
            key = {"run_id": stored(note.run_id), "path": stored(note.path), "try": note.try_, "attempt": note.attempt,
                   "phase": "execute"}  # fmt: skip
            said = {"last_seen_us": note.time_us, "progress": note.fraction, "message": stored(note.message)}
            there = update(self._claims).where(and_(*(columns[name] == value for name, value in key.items())))
            if not connection.execute(there.values(said)).rowcount:
                row = {**key, **said, "worker": stored(note.worker), "claimed_us": note.time_us}
                connection.execute(insert(self._claims), row)

    def _note(self, row: Any) -> Note:
        original = self._ways.original
        return Note(
            original(row["run_id"]), original(row["path"]), row["try"], row["attempt"], original(row["worker"]),
            row["progress"], original(row["message"] or ""), row["last_seen_us"],
        )  # fmt: skip
