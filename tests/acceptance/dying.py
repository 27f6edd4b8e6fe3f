"""Flows that take their process with them: `python -m tests.acceptance.dying FLOW`.

What must outlive the process is outside it: the database, and beside it a file with the calls of all bodies.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from flowledger import App, Flow, NotReady, Run, TaskContext, linear, unordered

ROOT = Path(__file__).parents[2]
PLACE = "DYING_PLACE"

app = App("dying")


def note(what: str, ctx: TaskContext) -> int:
    """Write down a call; returns how many there have been of this kind, in all processes."""
    here = Dying(Path(os.environ[PLACE]))
    with here.calls_file.open("a") as file:
        file.write(f"{what} {ctx.idempotency_key}\n")
    return here.calls().count(what)


@app.task(attempts=2)
def deadly(ctx: TaskContext) -> None:
    note("deadly", ctx)
    os._exit(9)


@deadly.revert
def undeadly(ctx: TaskContext) -> None:
    note(f"revert-{ctx.outcome}", ctx)


@app.task(attempts=2)
def deadly_once(ctx: TaskContext) -> None:
    calls = note("once", ctx)
    if calls == 1:
        os._exit(9)
    if calls == 2:
        raise ValueError("an attempt of its own")


@app.task(on_interrupt="fail")
def careful(ctx: TaskContext) -> None:
    note("careful", ctx)
    os._exit(9)


@app.task(losses=4)
def hardy(ctx: TaskContext) -> int:
    calls = note("hardy", ctx)
    if calls < 4:
        os._exit(9)
    return calls


@app.task(losses=1)
def fragile(ctx: TaskContext) -> None:
    note("fragile", ctx)


@fragile.revert
def unfragile(ctx: TaskContext) -> None:
    note("unfragile", ctx)
    os._exit(9)


@app.task
def before(ctx: TaskContext) -> None:
    note("before", ctx)


@before.revert
def unbefore(ctx: TaskContext) -> None:
    if note("unbefore", ctx) < 3:
        os._exit(9)


@app.task
def fails() -> None:
    raise ValueError("fails")


@app.task(deadline=60)
def polls(ctx: TaskContext) -> None:
    if note("polls", ctx) < 3:
        raise NotReady(retry_after=0.3)


@app.task
def dies_beside(ctx: TaskContext) -> None:
    here = Dying(Path(os.environ[PLACE]))
    while not here.logged("TaskWaiting"):
        os.sched_yield()
    if note("beside", ctx) == 1:
        os._exit(9)


@app.flow
def poison() -> Flow[Any]:
    return linear(deadly)


@app.flow
def once() -> Flow[Any]:
    return linear(deadly_once)


@app.flow
def given_up() -> Flow[Any]:
    return linear(careful)


@app.flow
def endured() -> Flow[Any]:
    return linear(hardy, returns=hardy)


@app.flow
def brittle() -> Flow[Any]:
    return linear(fragile, fails)


@app.flow
def undone() -> Flow[Any]:
    return linear(before, fails)


@app.flow
def beside() -> Flow[Any]:
    return unordered(polls, dies_beside)


FLOWS = {
    "poison": poison, "once": once, "given_up": given_up, "undone": undone, "beside": beside, "endured": endured,
    "brittle": brittle,
}  # fmt: skip


class Dying:
    """One place with a database and a file of calls, from any process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.calls_file = place / "calls"

    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {PLACE: str(self.place), "FLOWLEDGER_DATABASE_URL": f"sqlite:///{self.place}/log.db"}

    def die(self, flow: str) -> None:
        """Run or resume the flow in a process that does not survive it."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.dying", flow],
            cwd=ROOT, env={**os.environ, **self.environment()}, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 9, done.stderr.decode()

    def logged(self, kind: str) -> bool:
        """Whether an event of this class is durable."""
        with closing(sqlite3.connect(self.place / "log.db")) as connection:
            return bool(connection.execute("SELECT count(*) FROM events WHERE type = ?", (kind,)).fetchone()[0])

    def calls(self) -> list[str]:
        """What was called, in order."""
        return [line.split()[0] for line in self._lines()]

    def keys(self, what: str) -> list[str]:
        """The idempotency keys of the calls of one kind, in order."""
        return [line.split()[1] for line in self._lines() if line.startswith(f"{what} ")]

    def _lines(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


def run(flow: str) -> Run[Any]:
    """The same call that began it, in this process."""
    return app.run(FLOWS[flow](), key="k", check=False)


if __name__ == "__main__":
    run(sys.argv[1])
