"""The flows that are crashed at every append (R1, R2): each small enough to read, each strange in one way.

A body may depend on nothing a crash loses. What must change from call to call (a task that fails twice) is looked up in
the trace, an append-only file outside the log that stands for the world: it also says which bodies really ran.
"""

from __future__ import annotations

import os
from typing import Any

from flowledger import (
    App,
    Flow,
    Hold,
    NotReady,
    Permanent,
    Signal,
    TaskContext,
    Times,
    constant,
    graph,
    linear,
    link,
    symbol,
    unordered,
)
from flowledger.events import requests
from flowledger.events.facts import Raw

TRACE = "CRASH_TRACE"  # the path of the trace

app = App("crash")


class Boom(Exception):
    """What a body raises because its flow wants it to."""


def note(ctx: TaskContext, phase: str = "execute") -> int:
    """Write down that a body runs. Returns which attempt this is, from 1: a key stands for one (C5), crash or not."""
    path = os.environ[TRACE]
    line = f"{phase} {ctx.path} {ctx.attempt} {ctx.idempotency_key}\n"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, line.encode())
        lines = os.pread(file, 1 << 20, 0).decode().splitlines()
    finally:
        os.close(file)
    keys = [key for p, where, _, key in (entry.split() for entry in lines) if (p, where) == (phase, ctx.path)]
    return list(dict.fromkeys(keys)).index(ctx.idempotency_key) + 1


# -- tasks ----------------------------------------------------------------------------------------


@app.task
def step(n: int, ctx: TaskContext) -> int:
    note(ctx)
    return n * n


@step.revert
def unstep(n: int, result: int | None, ctx: TaskContext) -> None:
    note(ctx, "revert")
    assert result in (None, n * n)


@app.task
def add(a: int, b: int, ctx: TaskContext) -> int:
    note(ctx)
    return a + b


@add.revert
def unadd(ctx: TaskContext) -> None:
    note(ctx, "revert")


@app.task(read_only=True)
def total(values: list[int], ctx: TaskContext) -> int:
    note(ctx)
    return sum(values)


@app.task
def fails(times: int, ctx: TaskContext) -> int:
    """Fails in its first ``times`` attempts of the run."""
    attempt = note(ctx)
    if attempt <= times:
        raise Boom(f"attempt {attempt} of {ctx.path}")
    return attempt


@fails.revert
def unfails(ctx: TaskContext) -> None:
    note(ctx, "revert")


@app.task(attempts=4, backoff=constant(0.002))
def stubborn(times: int, ctx: TaskContext) -> int:
    attempt = note(ctx)
    if attempt <= times:
        raise Boom(f"attempt {attempt} of {ctx.path}")
    return attempt


@app.task(attempts=3)
def hopeless(ctx: TaskContext) -> None:
    note(ctx)
    raise Permanent("for good")


@app.task
def rooted(ctx: TaskContext) -> None:
    note(ctx)


@rooted.revert(attempts=2, backoff=constant(0.002))
def unrooted(ctx: TaskContext) -> None:
    note(ctx, "revert")
    raise Boom("cannot be undone")


@app.task
def sticky(ctx: TaskContext) -> None:
    note(ctx)


@sticky.revert(attempts=3)
def unsticky(ctx: TaskContext) -> None:
    if note(ctx, "revert") < 3:
        raise Boom("not yet")


@app.task(provides=("vpc", "net"))
def network(ctx: TaskContext) -> tuple[str, int]:
    note(ctx)
    return "vpc-1", 24


@app.task
def machine(vpc: str, net: int, ctx: TaskContext) -> str:
    note(ctx)
    return f"{vpc}/{net}"


@app.task(provides="text")
def large(ctx: TaskContext) -> str:
    """Over the limit for values inside events: it goes to a payload row."""
    note(ctx)
    return "x" * 70_000


@app.task
def measure(text: str, ctx: TaskContext) -> int:
    note(ctx)
    return len(text)


@app.task
def polls(ctx: TaskContext) -> str:
    count = note(ctx)
    path = os.environ[TRACE]
    with open(path, encoding="utf-8") as trace:  # noqa: PTH123 - one line is enough
        asked = sum(line.startswith(f"execute {ctx.path} ") for line in trace)
    if asked < 4:
        raise NotReady("not yet", retry_after=0.002)
    return f"attempt {count}"


@polls.revert
def unpolls(ctx: TaskContext) -> None:
    note(ctx, "revert")


@app.task
def span(ctx: TaskContext) -> list[int]:
    """Another list in each attempt of the run."""
    return [[1, 2, -1], [3, -2], [4, 5]][min(note(ctx), 3) - 1]


@span.revert
def unspan(ctx: TaskContext) -> None:
    note(ctx, "revert")


@app.task(label="{n}")
def positive(n: int, ctx: TaskContext) -> int:
    note(ctx)
    if n < 0:
        raise Boom(f"{n} is negative")
    return n


@positive.revert
def unpositive(ctx: TaskContext) -> None:
    note(ctx, "revert")


@app.task
async def arrive(n: int, ctx: TaskContext) -> int:
    note(ctx)
    return n


@arrive.revert
async def leave(n: int, result: int | None, ctx: TaskContext) -> None:
    note(ctx, "revert")


number = Signal("number", int)


@app.task(attempts=3)
def unsure(ctx: TaskContext) -> int:
    """Leaves it to a person, whenever it is called."""
    note(ctx)
    raise Hold("did it?")


@unsure.revert
def un_unsure(ctx: TaskContext) -> None:
    note(ctx, "revert")


# -- flows ----------------------------------------------------------------------------------------


def steps(*numbers: int) -> list[Any]:
    return [step.bind(n).named(f"step-{n}") for n in numbers]


@app.flow
def straight() -> Flow[int]:
    parts = steps(1, 2, 3, 4, 5)
    return linear(*parts, returns=parts[-1])


@app.flow
def diamond() -> Flow[int]:
    top, left, right = steps(1, 2, 3)
    bottom = add.bind(left, right)
    joins = [link(before, after) for before, after in ((top, left), (top, right), (left, bottom), (right, bottom))]
    return graph(top, left, right, bottom, *joins, returns=bottom)


@app.flow
def fan_out() -> Flow[int]:
    many = step.each(range(20)).named("many")
    sum_ = total.bind(many)
    return linear(many, sum_, returns=sum_)


@app.flow
def pair(n: int) -> Flow[int]:
    first, second = step.bind(n).named("first"), step.bind(n + 1).named("second")
    sum_ = add.bind(first, second)
    return linear(unordered(first, second, name="both"), sum_, returns=sum_)


@app.flow
def nested() -> Flow[int]:
    pairs = pair.each([1, 2, 3]).named("pairs")
    sum_ = total.bind(pairs)
    return linear(step.bind(9).named("before"), pairs, sum_, returns=sum_)


@app.flow
def retried() -> Flow[int]:
    last = fails.bind(2)
    return linear(*steps(1, 2), last, returns=last, retry=Times(4))


@app.flow
def retried_late() -> Flow[int]:
    """The next round waits: a durable back-off of a scope."""
    last = fails.bind(1)
    return linear(*steps(1), last, returns=last, retry=Times(3, backoff=constant(0.002)))


@app.flow
def retried_inside() -> Flow[int]:
    """The inner retry gives up after two rounds; the outer one starts it afresh (D6)."""
    last = fails.bind(3)
    inner = linear(*steps(2), last, name="inner", returns=last, retry=Times(2))
    return linear(*steps(1), inner, *steps(3), returns=inner, retry=Times(3))


@app.flow
def reverted() -> Flow[None]:
    return linear(*steps(1, 2), unordered(*steps(3, 4, 5), name="some"), fails.bind(99), rooted)


@app.flow
def reverted_from_inside() -> Flow[list[None]]:
    """An inner scope gives up while its neighbour is done."""
    inner = linear(*steps(1), fails.bind(99), name="inner", retry=Times(2))
    return unordered(linear(*steps(2, 3), name="neighbour"), inner)


@app.flow
def revert_fails() -> Flow[None]:
    return linear(*steps(1), rooted, *steps(2, 3), hopeless)


@app.flow
def revert_tries() -> Flow[None]:
    return linear(*steps(1), sticky, *steps(2), hopeless)


@app.flow
def parallel_failure() -> Flow[None]:
    """Two scopes fail side by side, one for good."""
    good = linear(*steps(1), fails.bind(1).named("once"), name="good", retry=Times(2))
    bad = linear(*steps(2), fails.bind(99).named("always"), name="bad", retry=Times(2))
    return linear(*steps(3), unordered(good, bad, *steps(4), name="sides"), *steps(5))


@app.flow
def asynchronous() -> Flow[None]:
    return linear(arrive.bind(1).named("a"), arrive.bind(2).named("b"), step.bind(3), arrive.bind(4).named("c"))


@app.flow
def several_provides() -> Flow[str]:
    last = machine
    return linear(network, large, measure, last, returns=last)


@app.flow
def gathered() -> Flow[list[int]]:
    return unordered(*steps(3, 1, 2), *(add.bind(a, 1).named(f"add-{a}") for a in (7, 8)))


@app.flow
def polling() -> Flow[str]:
    return linear(*steps(1), polls, *steps(2), returns=polls)


@app.flow
def attempted() -> Flow[int]:
    last = stubborn.bind(2)
    return linear(*steps(1), last, *steps(2), returns=last)


@app.flow(on_failure="stop")
def stopped() -> Flow[None]:
    return linear(*steps(1, 2), unordered(*steps(3), hopeless, name="some"), *steps(4))


@app.flow
def with_child() -> Flow[int]:
    """One of its atoms is a run of its own, which the same process drives (G7)."""
    child = pair.child(2).named("child")
    return linear(*steps(1), child, *steps(3), returns=child)


@app.flow
def child_undone() -> Flow[None]:
    return linear(*steps(1), pair.child(2).named("child"), fails.bind(99))


@app.flow
def child_fails() -> Flow[None]:
    return linear(*steps(1), crooked.child().named("child"))


@app.flow
def crooked() -> Flow[None]:
    return linear(*steps(4), fails.bind(99))


@app.flow
def heard() -> Flow[int]:
    """Two signals, one of them before anybody waits for it."""
    first, second = number.wait(), number.wait()
    sum_ = add.bind(first, second)
    return linear(*steps(1), first, *steps(2), second, sum_, returns=sum_)


@app.flow
def heard_again() -> Flow[int]:
    """The second round does not get the signal back that the first has taken (F4)."""
    value = number.wait()
    return linear(*steps(1), value, fails.bind(1), returns=value, retry=Times(2))


@app.flow
def timed_out() -> Flow[None]:
    return linear(*steps(1), number.wait(timeout=0.02), *steps(2))


@app.flow
def cancelled() -> Flow[None]:
    return linear(*steps(1, 2), unordered(*steps(3), number.wait(), name="some"), *steps(4))


@app.flow
def kept() -> Flow[None]:
    return linear(*steps(1, 2), number.wait())


@app.flow
def suspended() -> Flow[int]:
    value = number.wait()
    return linear(*steps(1), value, *steps(2), returns=value)


@app.flow
def held() -> Flow[int]:
    return linear(*steps(1), unsure, *steps(2), returns=unsure)


@app.flow
def held_and_failed() -> Flow[None]:
    return linear(*steps(1), unsure, *steps(2))


def _sent(value: int) -> requests.Request:
    return requests.Signal(name="number", payload=Raw(str(value).encode()))


#: What people ask of a run, once it has so many events of a kind. Whoever drives the run sends it, under an id of its
#: own, as often as it is driven (see `mail`).
ASKED: dict[str, list[tuple[str, int, requests.Request]]] = {
    "heard": [("TaskWaiting", 1, _sent(1)), ("TaskWaiting", 1, _sent(2))],
    "heard_again": [("TaskWaiting", 1, _sent(1)), ("TaskWaiting", 2, _sent(2))],
    "cancelled": [("TaskWaiting", 1, requests.Cancel(reason="r"))],
    "kept": [("TaskWaiting", 1, requests.Cancel(reason="r", keep=True))],
    "suspended": [("TaskWaiting", 1, requests.Suspend(reason="r")), ("RunResumed", 1, _sent(3))],
    "held": [
        ("RunSuspended", 1, requests.Resolve(path="held/unsure", resolution="succeeded", result=Raw(b"5"), reason="r"))
    ],
    "held_and_failed": [
        ("RunSuspended", 1, requests.Resolve(path="held_and_failed/unsure", resolution="failed", reason="r"))
    ],
}


# -- flows that grow (E7) ---------------------------------------------------------------------------


@app.flow
def grown() -> Flow[int]:
    """Expansions in an expansion, over lists that are results; further arguments are known late, too."""
    base, numbers = step.bind(2), gathered()
    sums = summed.each(numbers, plus=base).named("sums")
    sum_ = total.bind(sums)
    return linear(base, numbers, sums, sum_, returns=sum_)


@app.flow(label="{n}")
def summed(n: int, plus: int) -> Flow[int]:
    parts = unordered(step.bind(n), step.bind(plus)).as_("parts")
    more = add.each(symbol("parts"), b=plus).named("more")
    sum_ = total.bind(more)
    return linear(parts, more, sum_, returns=sum_, retry=Times(2))


@app.flow
def looped() -> Flow[int]:
    first = step.bind(1)
    rest = passed.bind(first)
    return linear(first, rest, returns=rest)


@app.flow
def passed(n: int) -> Flow[int]:
    """A loop: each pass binds the next to what it has found."""
    next_ = add.bind(n, 1)
    if n > 3:
        return linear(next_, returns=next_)
    rest = passed.bind(next_)
    return linear(next_, rest, returns=rest)


@app.flow
def grown_retried() -> Flow[list[int]]:
    """Each round goes through another list."""
    numbers = span
    many = positive.each(numbers).named("many")
    return linear(*steps(1), numbers, many, returns=many, retry=Times(3, backoff=constant(0.002)))


@app.flow
def picky(n: int) -> Flow[int]:
    if n < -1:
        raise Boom(f"no flow for {n}")
    last = positive.bind(n)
    return linear(*steps(1), last, returns=last, retry=Times(2))


@app.flow
def grown_wrongly() -> Flow[list[int]]:
    """A round fails in a child, the next in the factory; both are undone."""
    many = picky.each(span).named("many")
    return linear(span, many, returns=many, retry=Times(3))


@app.flow
def grown_reverted() -> Flow[None]:
    """All that has grown is undone, in the order of D4."""
    first, numbers = step.bind(1), gathered()
    many = step.each(numbers).named("many")
    return linear(first, passed.bind(first), numbers, many, rooted_by.bind(first))


@app.task
def rooted_by(n: int, ctx: TaskContext) -> None:
    note(ctx)
    raise Permanent(f"not {n}")


#: Every flow with the state it ends in.
ENDS: dict[str, str] = {
    "straight": "SUCCEEDED",
    "diamond": "SUCCEEDED",
    "fan_out": "SUCCEEDED",
    "nested": "SUCCEEDED",
    "retried": "SUCCEEDED",
    "retried_late": "SUCCEEDED",
    "retried_inside": "SUCCEEDED",
    "reverted": "REVERTED",
    "reverted_from_inside": "REVERTED",
    "revert_fails": "FAILED",
    "revert_tries": "REVERTED",
    "parallel_failure": "REVERTED",
    "asynchronous": "SUCCEEDED",
    "several_provides": "SUCCEEDED",
    "gathered": "SUCCEEDED",
    "polling": "SUCCEEDED",
    "attempted": "SUCCEEDED",
    "stopped": "FAILED",
    "heard": "SUCCEEDED",
    "heard_again": "SUCCEEDED",
    "timed_out": "REVERTED",
    "cancelled": "CANCELLED",
    "kept": "CANCELLED",
    "suspended": "SUCCEEDED",
    "held": "SUCCEEDED",
    "held_and_failed": "REVERTED",
    "grown": "SUCCEEDED",
    "looped": "SUCCEEDED",
    "grown_retried": "SUCCEEDED",
    "grown_wrongly": "SUCCEEDED",
    "grown_reverted": "REVERTED",
}
#: Flows with a child run.
PARENTS_ENDS: dict[str, str] = {
    "with_child": "SUCCEEDED",
    "child_undone": "REVERTED",
    "child_fails": "REVERTED",
}
ALL_ENDS = ENDS | PARENTS_ENDS
