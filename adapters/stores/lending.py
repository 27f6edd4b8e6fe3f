"""A connection lent to a user's body for the time of one transaction, and what is watched meanwhile (rule C8).

The body may do anything with it but end the transaction. What goes through SQLAlchemy is refused at the body's own
line; what goes around it (SQL text, the driver) each database finds out in its own way. When the time is over the
transaction is ended from outside, on a thread of its own, whatever the body does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock, Timer
from time import monotonic
from typing import Any, Self

from sqlalchemy import Connection, event

from flowledger.events.errors import TransactionMisused


class Loan(ABC):
    """Lent within a ``with`` block. ``misused``: the body has tried to end the transaction; ``over``: it took too long.

    Args:
        connection: in a transaction.
        limit_s: after so many seconds the transaction is ended.
    """

    def __init__(self, connection: Connection, limit_s: float) -> None:
        self.misused = False
        self.over = False
        self._connection = connection
        self._limit_s = limit_s
        self._until = monotonic() + limit_s
        self._watched = {"commit": self._ends, "rollback": self._ends, "before_cursor_execute": self._executes}
        self._ending = Lock()
        self._returned = False
        self._timer = Timer(limit_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        for name, listener in self._watched.items():
            event.listen(self._connection, name, listener)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._ending:
            self._returned = True
        for name, listener in self._watched.items():
            event.remove(self._connection, name, listener)

    @abstractmethod
    def _cut(self) -> None:
        """End the transaction, so that the body cannot write anything more. On the timer's thread."""

    def _expire(self) -> None:
        with self._ending:
            if not self._returned:
                self.over = True
                self._cut()

    def _ends(self, _connection: Connection) -> None:
        if not self.over:
            self.misused = True
            raise misused()

    def _executes(self, *_: Any) -> None:
        if self.over or monotonic() > self._until:
            raise TimeoutError(f"the transaction's {self._limit_s:g} s are over: nothing of it will be committed")


def misused() -> TransactionMisused:
    """The error for a body that has ended its transaction, or has tried to."""
    return TransactionMisused("a transactional task ends its transaction by returning or raising, not by itself")
