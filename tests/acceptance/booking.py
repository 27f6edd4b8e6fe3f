"""A flow whose second task books in a table of the log's own database: `python -m tests.acceptance.booking`.

Dies where ``FLOWLEDGER_FAILPOINT`` says. The table outlives it, and so does the log.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from sqlalchemy import Connection, create_engine, text

from flowledger import App, Flow, Run, RunOwned, TaskContext, linear

app = App("booking")


@app.task
def choose(seat: str) -> str:
    return seat


@app.task(transactional=True, provides="ticket")
def book(seat: str, connection: Connection, ctx: TaskContext) -> str:
    connection.execute(text("INSERT INTO bookings VALUES (:seat)"), {"seat": seat})
    return f"ticket for {seat}"


@book.revert
def cancel(ticket: str | None, ctx: TaskContext, connection: Connection) -> None:
    connection.execute(text("INSERT INTO undone VALUES (:how)"), {"how": f"{ctx.outcome} {ticket}"})
    connection.execute(text("DELETE FROM bookings"))


@app.task(read_only=True)
def thank(ticket: str) -> str:
    return f"thanks, {ticket}"


@app.task(read_only=True)
def fail(ticket: str) -> None:
    raise ValueError("no")


@app.flow
def trip(seat: str) -> Flow[str]:
    thanks = thank
    return linear(choose.bind(seat), book.bind(seat), thanks, returns=thanks)


@app.flow
def no_trip(seat: str) -> Flow[None]:
    return linear(choose.bind(seat), book.bind(seat), fail)


FLOWS: dict[str, Any] = {"trip": trip, "no_trip": no_trip}


class Tables:
    """The tables of the user, in the log's database."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url.partition("?")[0])
        with self._engine.begin() as connection:
            connection.execute(text("CREATE TABLE bookings (seat TEXT)"))
            connection.execute(text("CREATE TABLE undone (how TEXT)"))

    def rows(self, table: str = "bookings") -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(text(f"SELECT * FROM {table}")))

    def drop(self) -> None:
        with self._engine.begin() as connection:
            for table in ("bookings", "undone"):
                connection.execute(text(f"DROP TABLE {table}"))
        self._engine.dispose()


def go(flow: str, executor: str) -> Run[Any]:
    """The same call that began it. A server may take a moment to notice that the client before is gone."""
    until = monotonic() + 20
    while True:
        try:
            return _go(flow, executor)
        except RunOwned:
            if monotonic() > until:
                raise


def _go(flow: str, executor: str) -> Run[Any]:
    return app.run(FLOWS[flow]("4a"), key="k", executor="inline" if executor == "inline" else "threads", check=False)


if __name__ == "__main__":
    go(sys.argv[1], sys.argv[2])
