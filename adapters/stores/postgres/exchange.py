"""Statements prepared, sent and answered on libpq itself: half of what a cursor of psycopg costs for one row.

A cursor finds a dumper for each value, a plan of its own for each statement and a generator for each wait: about 40 us,
as much as the engine takes for a whole task. Here values come packed (`wire`), and one wait is one `poll`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from .connecting import GuardedConnection

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

#: The server keeps the plan it once made for a prepared statement, while the tables grow from nothing to millions of
#: rows. So after this time a statement is prepared anew when it is next used.
REPLAN_S: Final = 10.0

_VALUE: Final = re.compile("%b")
_BINARY: Final = 1
_ANSWERED: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)

Row = tuple[bytes | None, ...]


class Exchange:
    """Sends statements on one connection and waits for each answer. One thread at a time.

    Args:
        connection: in autocommit; not used by anybody else.
        prepares: whether statements may be kept prepared (no pooler has the session).
    """

    def __init__(self, connection: GuardedConnection, *, prepares: bool) -> None:
        self.connection = connection
        self._pq = connection.pgconn
        self._prepares = prepares
        self._poll = poll()
        self._socket = self._pq.socket
        self._poll.register(self._socket, POLLIN)
        self._names: dict[str, bytes] = {}  # by statement, of those that are prepared
        self._stale: dict[str, bytes] = {}  # prepared long ago
        self._numbers = count()
        self._fresh_until = monotonic() + REPLAN_S

    def execute(self, statement: str, values: Sequence[bytes | None]) -> Answer:
        """Execute a statement whose values, marked ``%b``, are packed as the server reads them.

        Raises:
            psycopg.Error: the server refuses it, or the connection is lost (it is closed then).
        """
        formats = [_BINARY] * len(values)
        if self._prepares:
            self._pq.send_query_prepared(self._prepared(statement), values, formats, _BINARY)
        else:
            self._pq.send_query_params(_numbered(statement), values, None, formats, _BINARY)
        return Answer(self._answer())

    # -- prepared statements ----------------------------------------------------------------------

    def _prepared(self, statement: str) -> bytes:
        if monotonic() > self._fresh_until:
            self._fresh_until = monotonic() + REPLAN_S
            self._stale |= self._names
            self._names = {}
        name = self._names.get(statement)
        return name if name is not None else self._prepare(statement)

    def _prepare(self, statement: str) -> bytes:
        stale = self._stale.pop(statement, None)
        if stale is not None:
            self._pq.send_query(b"DEALLOCATE " + stale)
            self._answer()
        name = b"flowledger_%d" % next(self._numbers)
        self._pq.send_prepare(name, _numbered(statement))
        self._answer()
        self._names[statement] = name
        return name

    # -- waiting ----------------------------------------------------------------------------------

    def _answer(self) -> PGresult:
        """The answer to what has just been sent; whatever comes after it is taken off the wire, too."""
        deadline = monotonic() + self.connection.answer_s
        self._flush(deadline)
        found: PGresult | None = None
        while True:
            while self._pq.is_busy():
                self._wait(deadline)
            result = self._pq.get_result()
            if result is None:
                break
            if found is None or found.status in _ANSWERED:
                found = result  # the first error is the one to be told
        if found is None:
            raise psycopg.OperationalError("the server has given no answer")
        if found.status not in _ANSWERED:
            raise error_from_result(found)
        return found

    def _flush(self, deadline: float) -> None:
        """Send all of it. The server may stop reading until somebody reads what it has to say."""
        if not self._pq.flush():
            return
        self._poll.modify(self._socket, POLLIN | POLLOUT)
        try:
            while self._pq.flush():
                self._wait(deadline)
        finally:
            self._poll.modify(self._socket, POLLIN)

    def _wait(self, deadline: float) -> None:
        ready = self._poll.poll(max(0.0, deadline - monotonic()) * 1e3)
        if not ready:
            self._pq.finish()
            raise psycopg.OperationalError(
                f"no answer within {self.connection.answer_s:g} s: the connection is given up"
            )
        if ready[0][1] != POLLOUT:
            self._pq.consume_input()


class Answer:
    """What the server gave: rows, or only how many it has changed."""

    __slots__ = ("_result",)

    def __init__(self, result: PGresult) -> None:
        self._result = result

    @property
    def has_rows(self) -> bool:
        """Whether the statement gives rows, be they none."""
        return self._result.status == ExecStatus.TUPLES_OK

    @property
    def changed(self) -> int:
        """How many rows a statement that gives none has changed."""
        return self._result.command_tuples or 0

    def column(self) -> list[bytes | None]:
        """The first value of each row."""
        value = self._result.get_value
        return [value(row, 0) for row in range(self._result.ntuples)]

    def rows(self) -> Iterator[Row]:
        """The rows, each value as the server packs it."""
        value, columns = self._result.get_value, range(self._result.nfields)
        return (tuple([value(row, column) for column in columns]) for row in range(self._result.ntuples))


def _numbered(statement: str) -> bytes:
    """``%b`` as libpq wants it: $1, $2, …"""
    numbers = count(1)
    return _VALUE.sub(lambda _: f"${next(numbers)}", statement).encode()
