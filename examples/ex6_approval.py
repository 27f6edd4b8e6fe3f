"""A release that waits for a person's word: a typed signal, a poll before it, and a step that nobody runs twice unseen.

python examples/ex6_approval.py
flowledger run release --set version=1.2 --key release-1.2      # in one terminal: it polls, then waits
flowledger signal release-1.2 approval '{"by": "ada", "ok": true}'      # in another
"""

from datetime import timedelta
from threading import Thread
from time import sleep as pause

from pydantic import BaseModel

from flowledger import App, Flow, NotReady, Signal, TaskContext, linear, sleep


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


@app.flow
def release(version: str) -> Flow[str]:
    decision = approval.wait(timeout=timedelta(days=7))
    done = roll_out.bind(version, decision)
    return linear(canary_healthy.bind(version), decision, done, sleep(0.01), returns=done)


def ada() -> None:
    """Somebody who says yes as soon as there is something to say it to."""
    while not (waiting := [run for run in app.runs() if run.key == "release-1.2"]):
        pause(0.01)
    waiting[0].send(approval, Approval(by="ada", ok=True), reason="change 77")


if __name__ == "__main__":
    Thread(target=ada).start()
    print(app.run(release("1.2"), key="release-1.2").result)
