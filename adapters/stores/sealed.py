"""Seals in SQL: the same on SQLite and Postgres, which differ in how a transaction begins and how text is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Row, Select, Table, and_, func, or_, select

from flowledger.events.merkle import Head
from flowledger.events.seals import Seal, Sealed

T = TypeVar("T")

#: Run ids in one question.
_AT_ONCE = 500


class Ways(Protocol):
    """How a store reads and writes, and how it keeps text."""

    def selecting(self, work: Callable[[Connection], T]) -> T:
        """Read."""
        ...

    def transacting(self, work: Callable[[Connection], T]) -> T:
        """Read and write in one transaction, which alone may write."""
        ...

    def erasing(self, work: Callable[[Connection], T]) -> T:
        """The same, so that nothing of what is deleted stays in a file, as far as the database can see to that."""
        ...

    def stored(self, text: str) -> str:
        """A text as the database keeps it."""
        ...

    def original(self, text: str) -> str:
        """A text as it was before."""
        ...


class SqlSeals:
    """See `events.seals.Seals`."""

    def __init__(self, ways: Ways, *, seals: Table, heads: Table, events: Table) -> None:
        self._ways = ways
        self._seals = seals
        self._heads = heads
        self._events = events

    def add(self, seal: Seal, heads: Sequence[Head]) -> bool:
        seal_row = {"number": seal.number, "statement": seal.statement, "signature": seal.signature}
        rows = [
            {"run_id": self._ways.stored(h.run_id), "seal": seal.number, "version": h.version, "hash": h.hash}
            for h in heads
        ]

        def write(connection: Connection) -> bool:
            if connection.scalar(select(self._seals.c.number).where(self._seals.c.number == seal.number)):
                return False
            connection.execute(self._seals.insert(), seal_row)
            if rows:
                connection.execute(self._heads.insert(), rows)
            return True

        return self._ways.transacting(write)

    def read(self, *, after: int = 0, limit: int = 1000) -> list[Seal]:
        columns = self._seals.c
        query = select(self._seals).where(columns.number > after).order_by(columns.number).limit(limit)
        return [Seal(row.number, bytes(row.statement), bytes(row.signature)) for row in self._rows(query)]

    def last(self) -> Seal | None:
        rows = self._rows(select(self._seals).order_by(self._seals.c.number.desc()).limit(1))
        return next((Seal(row.number, bytes(row.statement), bytes(row.signature)) for row in rows), None)

    def heads(self, number: int) -> list[Head]:
        columns = self._heads.c
        return [each.head for each in self._sealed(select(self._heads).where(columns.seal == number))]

    def newest(self, run_ids: Sequence[str]) -> dict[str, Sealed]:
        found: dict[str, Sealed] = {}
        other = self._heads.alias()
        newest = select(func.max(other.c.seal)).where(other.c.run_id == self._heads.c.run_id).scalar_subquery()
        for at in range(0, len(run_ids), _AT_ONCE):
            names = [self._ways.stored(run_id) for run_id in run_ids[at : at + _AT_ONCE]]
            query = select(self._heads).where(self._heads.c.run_id.in_(names), self._heads.c.seal == newest)
            found |= {sealed.head.run_id: sealed for sealed in self._sealed(query)}
        return found

    def of_run(self, run_id: str) -> list[Sealed]:
        query = select(self._heads).where(self._heads.c.run_id == self._ways.stored(run_id))
        return sorted(self._sealed(query))

    def unmet(self, *, limit: int = 100) -> list[Sealed]:
        heads, events = self._heads.c, self._events.c
        same = and_(events.run_id == heads.run_id, events.version == heads.version)
        query = (
            select(self._heads)
            .select_from(self._heads.outerjoin(self._events, same))
            .where(or_(events.hash.is_(None), events.hash != heads.hash))
            .order_by(heads.run_id, heads.seal)
            .limit(limit)
        )
        return list(self._sealed(query))

    def _sealed(self, query: Select[Any]) -> Iterator[Sealed]:
        """Rows of heads, sorted by run id as Python sorts (the tree is over this order)."""
        rows = [
            Sealed(row.seal, Head(self._ways.original(row.run_id), row.version, bytes(row.hash)))
            for row in self._rows(query)
        ]
        return iter(sorted(rows, key=lambda sealed: (sealed.head.run_id, sealed.seal)))

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._ways.selecting(lambda connection: connection.execute(query).fetchall())
