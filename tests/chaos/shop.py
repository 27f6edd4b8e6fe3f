"""What runs while everything fails: flows of local and remote tasks, with joins, retries, sleeps and reverts.

Each body writes a line to the ledger (the file ``CHAOS_LEDGER``) when it begins and one when it has ended.
"""

from __future__ import annotations

import os
from threading import Event

from flowledger import App, Flow, Permanent, TaskContext, Times, linear, unordered
from flowledger import sleep as pause

from .ledger import Ledger

app = App("chaos")
QUEUE = "builds"


def _ledger() -> Ledger:
    return Ledger(os.environ["CHAOS_LEDGER"])


def _made(ctx: TaskContext, phase: str, seconds: float) -> None:
    with _ledger().body(ctx.run_id, ctx.path, phase, ctx.idempotency_key, ctx.attempt):
        Event().wait(seconds)  # what faketime does to time.sleep is not what a wrong clock does


@app.task
def near(n: int, ctx: TaskContext) -> int:
    """Made by the conductor."""
    _made(ctx, "execute", 0.05 * (n % 5))
    return n


@near.revert
def unmake_near(n: int, ctx: TaskContext) -> None:
    _made(ctx, "revert", 0.05 * (n % 3))


@app.task(queue=QUEUE, losses=5)
def brick(n: int, ctx: TaskContext) -> int:
    """Made by a worker."""
    _made(ctx, "execute", 0.1 * (n % 6))
    return n


@brick.revert
def unmake_brick(n: int, ctx: TaskContext) -> None:
    _made(ctx, "revert", 0.05 * (n % 4))


@app.task(queue=QUEUE)
def total(bricks: list[int], ctx: TaskContext) -> int:
    """The join: made by a worker, once all are there."""
    _made(ctx, "execute", 0.0)
    return sum(bricks)


@app.task
def refuse(ctx: TaskContext) -> None:
    """Fails for good."""
    _made(ctx, "execute", 0.01)
    raise Permanent("refused, as planned")


@app.task
def stumble(try_number: int, ctx: TaskContext) -> int:
    """Fails in the first two tries of its flow."""
    _made(ctx, "execute", 0.01)
    if try_number < 3:
        raise ValueError(f"try {try_number}")
    return try_number


@app.flow
def fan(width: int) -> Flow[int]:
    """Many parts at once, and one join."""
    wall = unordered(*[brick.bind(n).named(f"brick-{n}") for n in range(width)]).named("wall")
    join = total.bind(wall)
    return linear(near.bind(width), wall, join, returns=join)


@app.flow
def chain(steps: int) -> Flow[int]:
    """Local and remote steps in turn, and a pause that holds no thread."""
    made = [(near if n % 3 else brick).bind(n).named(f"step-{n}") for n in range(steps)]
    half = steps // 2
    return linear(*made[:half], pause(0.3), *made[half:], returns=made[-1])


@app.flow
def undone(width: int) -> Flow[None]:
    """All of it is undone, for its last task fails."""
    return linear(near.bind(1), unordered(*[brick.bind(n).named(f"brick-{n}") for n in range(width)]), refuse)


@app.flow
def stubborn(width: int) -> Flow[int]:
    """Two tries of its inner flow fail, and are undone; the third succeeds."""
    bricks = [brick.bind(n).named(f"brick-{n}") for n in range(width)]
    last = stumble.bind()
    tries = linear(unordered(*bricks), last, retry=Times(3, provides="try_number"), returns=last).named("tries")
    return linear(near.bind(2), tries, returns=tries)
