"""Connections that cannot hang: an answer comes in time, or the connection is given up.

The server's time-outs help while the server can be heard, TCP's where packets are lost. Neither does where somebody in
between accepts everything and answers nothing (a proxy, a NAT box, a stopped server). So each wait has its own limit.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import psycopg

if TYPE_CHECKING:
    from psycopg.abc import PQGen

T = TypeVar("T")


class Lost(Exception):
    """The connection is gone, or there was none to be had: what was last sent on it may or may not have happened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class GuardedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when an answer takes longer than ``answer_s`` seconds."""

    answer_s: float = 30.0

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """See `psycopg.Connection.wait`, which looks up ten times a second."""
        return super().wait(self._within(gen, monotonic() + self.answer_s), *args, **kwargs)

    def _within(self, gen: PQGen[T], deadline: float) -> PQGen[T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.answer_s:g} s: the connection is given up")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer


def guard(connection: GuardedConnection, answer_s: float) -> GuardedConnection:
    """Set the limit, and make sure that a forked child lets go of the connection."""
    connection.answer_s = answer_s
    _living.add(connection)
    return connection


class Patience:
    """Pauses that grow, until the time is over.

    Args:
        patience_s: for how long another attempt may still begin.
    """

    def __init__(self, patience_s: float, *, first_s: float = 0.02, longest_s: float = 1.0) -> None:
        self._deadline = monotonic() + patience_s
        self._next_s = first_s
        self._longest_s = longest_s

    def over(self) -> bool:
        """Whether there is no time for another pause."""
        return monotonic() + self._next_s > self._deadline

    def pause(self) -> None:
        """Sleep: at first shortly, then longer; never many at the same moment."""
        time.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret, only out of step
        self._next_s = min(self._next_s * 2, self._longest_s)


# A forked child has its parent's sockets. As long as it lives the server would see its dead parent alive, and keep its
# presence lock. psycopg itself says nothing on a connection of another process.
_living: WeakSet[GuardedConnection] = WeakSet()


def _after_fork() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for connection in list(_living):
        with suppress(psycopg.Error, OSError):
            os.dup2(nowhere, connection.fileno())
    os.close(nowhere)
    _living.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
