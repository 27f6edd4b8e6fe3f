"""An app for conductors in processes of their own: slow enough to be met in the middle, and it says what it did."""

from __future__ import annotations

import os
from pathlib import Path
from time import sleep

from flowledger import App, Flow, linear

app = App("board_shop")

#: A file in which each body says that it ran, and one for which a body waits.
SAID = Path(os.environ.get("BOARD_SHOP_SAID", "/dev/null"))
GATE = SAID.with_suffix(".gate")


def say(text: str) -> None:
    with SAID.open("a", encoding="utf-8") as out:
        out.write(f"{text}\n")


@app.task
def pick(item: str) -> str:
    say(f"pick {item} {os.getpid()}")
    return item


@app.task
def hold(item: str) -> str:
    """Runs until the gate is opened."""
    say(f"hold {item} {os.getpid()}")
    while not GATE.exists():
        sleep(0.01)
    return item


@app.task
def ship(item: str) -> str:
    say(f"ship {item} {os.getpid()}")
    return item


@app.flow
def order(item: str) -> Flow[str]:
    last = ship.bind(item)
    return linear(pick.bind(item), last, returns=last)


@app.flow
def held(item: str) -> Flow[str]:
    last = ship.bind(item)
    return linear(hold.bind(item), last, returns=last)


@app.task(losses=20)
def pack(item: str) -> str:
    """Made where processes are killed all the time: that it meets many of them says nothing against it (C6)."""
    sleep(0.4)
    say(f"pack {item} {os.getpid()}")
    return item


@app.flow
def slowly(item: str) -> Flow[str]:
    """Ten steps one after the other, four seconds in all."""
    steps = [pack.bind(item).named(f"step-{n}") for n in range(10)]
    return linear(*steps, returns=steps[-1])
