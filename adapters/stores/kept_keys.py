"""Keys of runs in SQL; see `events.run_keys.RunKeys`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select

from flowledger.events.run_keys import RunKeyRow

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Table

    from .sealed import Ways


class SqlRunKeys:
    """The same on SQLite and Postgres."""

    def __init__(self, ways: Ways, table: Table) -> None:
        self._ways = ways
        self._table = table

    def put(self, row: RunKeyRow) -> RunKeyRow:
        def write(connection: Connection) -> RunKeyRow:
            found = self._found(connection, row.run_id)
            if found is None:
                connection.execute(self._table.insert(), row._replace(run_id=self._ways.stored(row.run_id))._asdict())
            return found or row

        return self._ways.transacting(write)

    def get(self, run_id: str) -> RunKeyRow | None:
        return self._ways.selecting(lambda connection: self._found(connection, run_id))

    def rewrap(self, rows: Sequence[RunKeyRow]) -> int:
        changed = self._table.update().where(self._table.c.run_id == bindparam("run"))

        def write(connection: Connection) -> int:
            return sum(
                connection.execute(
                    changed,
                    {"run": self._ways.stored(row.run_id), "wrapped_by": row.wrapped_by, "wrapped": row.wrapped},
                ).rowcount
                for row in rows
            )

        return self._ways.transacting(write)

    def remove(self, run_id: str) -> bool:
        gone = self._table.delete().where(self._table.c.run_id == self._ways.stored(run_id))
        return self._ways.erasing(lambda connection: connection.execute(gone).rowcount > 0)

    def wrapped_by_others(self, name: str, *, limit: int, after: str = "") -> list[RunKeyRow]:
        columns = self._table.c
        others = self._table.select().where(columns.wrapped_by != name, columns.run_id > self._ways.stored(after))
        query = others.order_by(columns.run_id).limit(limit)
        return self._ways.selecting(lambda connection: [self._row(row) for row in connection.execute(query)])

    def counts(self) -> dict[str, int]:
        query = select(self._table.c.wrapped_by, func.count()).group_by(self._table.c.wrapped_by)
        return self._ways.selecting(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    def _found(self, connection: Connection, run_id: str) -> RunKeyRow | None:
        query = self._table.select().where(self._table.c.run_id == self._ways.stored(run_id))
        row = connection.execute(query).first()
        return None if row is None else self._row(row)

    def _row(self, row: Row[Any]) -> RunKeyRow:
        return RunKeyRow(self._ways.original(row.run_id), row.wrapped_by, bytes(row.wrapped), row.created_us)
