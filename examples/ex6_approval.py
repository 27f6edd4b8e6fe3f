"""A release that waits for a person's word: a poll, a typed signal, a step that nobody runs twice unseen, and one whose
effect and outcome are one commit.

python -m examples.ex6_approval
flowledger run release --set version=1.2 --key release-1.2      # in one terminal: it polls, then waits
flowledger signal release-1.2 approval '{"by": "ada", "ok": true}'      # in another
"""

import asyncio
from datetime import timedelta
from tempfile import TemporaryDirectory
from threading import Thread
from time import sleep as pause

from pydantic import BaseModel
from sqlalchemy import Connection, text

from flowledger import App, Flow, NotReady, RunCancelled, Signal, TaskContext, linear, sleep


class Approval(BaseModel):
    by: str
    ok: bool


app = App("rollout")
approval = Signal("approval", Approval)


@app.task(deadline=timedelta(hours=1), read_only=True)
def canary_healthy(version: str, ctx: TaskContext) -> float:
    """Looks at the canary, again and again, and holds nothing in between."""
    score = 0.99 if ctx.idempotency_key else 0.5
    if score < 0.9:
        raise NotReady("canary at 50 %", retry_after=30)
    return score


@app.task(on_interrupt="hold")
def roll_out(version: str, decision: Approval) -> str:
    """If its process dies in here, the run is suspended until `flowledger resolve` says what became of it."""
    return f"{version} rolled out, said {decision.by}" if decision.ok else f"{version} turned down by {decision.by}"


@roll_out.revert
def roll_back(version: str) -> None: ...


@app.task(transactional=True)
def book(version: str, connection: Connection) -> int:
    """In the log's own database: the row below and the outcome of this task are one commit."""
    connection.execute(text("CREATE TABLE IF NOT EXISTS releases (version TEXT)"))
    connection.execute(text("INSERT INTO releases VALUES (:version)"), {"version": version})
    booked: int = connection.execute(text("SELECT count(*) FROM releases")).scalar_one()
    return booked


@book.revert
def strike(version: str, connection: Connection) -> None:
    connection.execute(text("DELETE FROM releases WHERE version = :version"), {"version": version})


@app.flow
def release(version: str) -> Flow[str]:
    decision = approval.wait(timeout=timedelta(days=7))
    done = roll_out.bind(version, decision)
    return linear(
        canary_healthy.bind(version), decision, done, sleep(0.01), book.bind(version), returns=done
    )  # fmt: skip


def ada(here: App) -> None:
    """Somebody who says yes as soon as there is something to say it to."""
    while not (waiting := [run for run in here.runs() if run.key == "release-1.2"]):
        pause(0.01)
    waiting[0].send(approval, Approval(by="ada", ok=True), reason="change 77")


async def conducted(here: App) -> str:
    """What a web application does: its process conducts what it submits."""
    async with here.conductor():
        run = await here.asubmit(release("1.3"))
        await run.asend(approval, Approval(by="grace", ok=True), reason="change 78")
        return await run


def given_up(here: App) -> str:
    """A run that waits is cancelled, whoever drives it; nothing of it is left."""
    run = here.submit(release("1.4"))
    run.cancel(reason="wrong version")
    try:
        return run.wait()
    except RunCancelled:
        return "1.4 was given up"


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        here = App("rollout", database_url=f"sqlite:///{folder}/rollout.db")
        here.include(app)
        somebody = Thread(target=ada, args=(here,))
        somebody.start()
        run = here.run(release("1.2"), key="release-1.2")
        print(run.result)
        somebody.join()
        print(asyncio.run(conducted(here)))
        print(given_up(here))
        print(here.run(release("1.2"), key="release-1.2").results["release/book"], "release booked, not two")
        here.close()
