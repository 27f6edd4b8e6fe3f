"""How tables beside the log are read and written in Postgres; see `sealed.Ways`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, text

from . import wire
from .connecting import Lost
from .database import PostgresDatabase

T = TypeVar("T")

_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


class PostgresWays:
    """One transaction at a time writes here, as on SQLite: what it has read stays true until it commits."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def selecting(self, work: Callable[[Connection], T]) -> T:
        return self._database.selecting(work)

    def transacting(self, work: Callable[[Connection], T]) -> T:
        database = self._database
        try:
            with database.guarded(), database.connecting() as connection:
                transacted = connection.execution_options(isolation_level="READ COMMITTED")
                with transacted.begin():
                    transacted.execute(_ALONE, {"name": f"flowledger beside {database.schema}"})
                    return work(transacted)
        except Lost as lost:
            raise database.unavailable(lost.error) from lost

    def erasing(self, work: Callable[[Connection], T]) -> T:
        """The dead row is gone with the next vacuum."""
        return self.transacting(work)

    def stored(self, text: str) -> str:
        return wire.stored(text)

    def original(self, text: str) -> str:
        return wire.original(text)
