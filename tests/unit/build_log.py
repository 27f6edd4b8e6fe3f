"""A small build, and the log of a run of it, piece by piece."""

from __future__ import annotations

from flowledger import App, Flow, Times, linear, unordered
from flowledger.events import facts
from tests.unit.written_log import failure

app = App("shop")


@app.task
def first() -> int:
    return 1


@app.task(losses=5)
def second() -> int:
    return 2


@app.task
def last() -> int:
    return 3


@app.flow
def build() -> Flow[int]:
    pair = linear(first, second, name="pair", retry=Times(3))
    return linear(unordered(pair, name="pairs"), last, returns=last)


PAIR = "build/pairs/pair"
FIRST, SECOND, LAST = f"{PAIR}/first", f"{PAIR}/second", "build/last"

BEGUN: list[tuple[str, facts.Event]] = [
    ("", facts.RunSubmitted(app="shop", factory="build", key="k", tags={"team": "a"})),
    ("", facts.RunClaimed(owner="o1", epoch=1)),
    ("", facts.RunStarted(fingerprint="f")),
    (PAIR, facts.RoundStarted(round=1)),
    (FIRST, facts.TaskStarted(key="a")),
    (FIRST, facts.TaskSucceeded(result=facts.Raw(b"1"))),
    (SECOND, facts.TaskStarted(key="b")),
]
ROUND_FAILED: list[tuple[str, facts.Event]] = [
    (SECOND, facts.TaskFailed(failure=failure(SECOND))),
    (PAIR, facts.RetryDecided(round=1, decision="RETRY", failures=(failure(SECOND),))),
    (PAIR, facts.ScopeReverting(round=1)),
    (SECOND, facts.TaskReverted(attempt=0)),
    (FIRST, facts.RevertStarted(key="c")),
    (FIRST, facts.TaskReverted()),
    (PAIR, facts.ScopeReset(round=1)),
]
DONE: list[tuple[str, facts.Event]] = [
    (SECOND, facts.TaskSucceeded(result=facts.Raw(b"2"))),
    (LAST, facts.TaskStarted(key="d")),
    (LAST, facts.TaskSucceeded(result=facts.Raw(b"3"))),
    ("", facts.RunSucceeded()),
]
