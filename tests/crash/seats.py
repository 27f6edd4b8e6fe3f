"""Flows of the corpus whose tasks' writes and outcome are one commit (C8): they need a store that has transactions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from flowledger import Flow, TaskContext, linear
from tests.crash import corpus
from tests.crash.corpus import app, fails, note, steps


@app.task(transactional=True)
def book(seat: str, ctx: TaskContext, connection: Connection) -> str:
    note(ctx)
    connection.execute(text("CREATE TABLE IF NOT EXISTS crash_seats (run TEXT, seat TEXT)"))
    connection.execute(text("INSERT INTO crash_seats VALUES (:run, :seat)"), {"run": ctx.run_id, "seat": seat})
    return seat


@book.revert
def unbook(seat: str, ctx: TaskContext, connection: Connection) -> None:
    note(ctx, "revert")
    gone = connection.execute(
        text("DELETE FROM crash_seats WHERE run = :run AND seat = :seat"), {"run": ctx.run_id, "seat": seat}
    )
    assert gone.rowcount == 1, "booked twice, or not at all"


@app.task(transactional=True)
def booked(ctx: TaskContext, connection: Connection) -> int:
    """How often the run has booked: the result says whether a crash doubled or lost one."""
    note(ctx)
    counted = connection.execute(text("SELECT count(*) FROM crash_seats WHERE run = :run"), {"run": ctx.run_id})
    return int(counted.scalar_one())


@app.flow
def seated() -> Flow[int]:
    return linear(*steps(1), book.bind("4a").named("one"), book.bind("4b").named("two"), booked, returns=booked)


@app.flow
def seated_undone() -> Flow[None]:
    return linear(book.bind("4a").named("one"), *steps(1), book.bind("4b").named("two"), fails.bind(99))


#: Each with the state it ends in.
ENDS: dict[str, str] = {
    "seated": "SUCCEEDED",
    "seated_undone": "REVERTED",
}


def factory(name: str) -> Any:
    """The flow of this name, of the corpus or of these."""
    return globals()[name] if name in ENDS else getattr(corpus, name)
