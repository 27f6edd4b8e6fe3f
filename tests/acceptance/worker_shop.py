"""An app whose tasks are made by workers in processes of their own; their bodies say what they do, and wait for files.

`SHOP` names a folder: a body appends to ``said``, and one that waits goes on when its gate (a file) is there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flowledger import App, Flow, TaskContext, linear, unordered

app = App("shop")


def here() -> Path:
    return Path(os.environ["SHOP"])


def say(word: str) -> None:
    with (here() / "said").open("a") as file:
        file.write(f"{word}\n")


def said() -> list[str]:
    file = here() / "said"
    return file.read_text().split() if file.exists() else []


@app.task
def near() -> int:
    say("near")
    return 1


@app.task(queue="builds")
def build(n: int) -> int:
    say(f"build-{n}")
    return n + 1


@app.task(queue="builds", losses=20)
def brick(n: int) -> int:
    time.sleep(0.1)
    say(f"brick-{n}")
    return n


@app.task(queue="builds")
def waits(ctx: TaskContext) -> int:
    say(f"begun-{ctx.attempt}-{os.getpid()}")
    while not (here() / "gate").exists():
        if ctx.cancelled:
            say("saw-it")
            raise RuntimeError("stopped")
        time.sleep(0.02)
    say("through")
    return 7


@app.task(queue="builds")
def kills() -> None:
    """Takes its worker along."""
    say("killed")
    os.kill(os.getpid(), 9)


@app.task(queue="builds", executor="processes")
def elsewhere() -> int:
    return os.getpid()


@app.flow
def mixed() -> Flow[int]:
    last = build.bind(10).named("last")
    return linear(near, build.bind(1), last, returns=last)


@app.flow
def waiting() -> Flow[int]:
    return linear(near, waits, returns=waits)


@app.flow(on_failure="stop")
def poison() -> Flow[None]:
    return linear(kills)


@app.flow
def apart() -> Flow[int]:
    return linear(elsewhere, returns=elsewhere)


@app.flow
def fan(n: int) -> Flow[list[int]]:
    return unordered(*[brick.bind(i).named(f"b{i}") for i in range(n)])
