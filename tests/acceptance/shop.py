"""A small app for the command line to find: flows that succeed, fail, wait, and misbehave."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from pydantic import BaseModel

from flowledger import App, Flow, linear

app = App("shop")
_calls = itertools.count()


class Order(BaseModel):
    """What somebody wants."""

    item: str
    number: int = 1


@app.task(provides="ticket")
def reserve(order: Order) -> str:
    return f"{order.number} {order.item}"


@reserve.revert
def give_back(order: Order) -> None:
    Path("given_back").write_text(order.item)


@app.task
def pay(ticket: str) -> str:
    if "nothing" in ticket:
        raise ValueError("there is no such thing")
    return f"paid {ticket}"


@app.task
def wait_for(file: str) -> None:
    Path(f"{file}.started").touch()
    while not Path(file).exists():
        time.sleep(0.01)


@app.flow
def buy(order: Order) -> Flow[str]:
    return linear(reserve.bind(order), pay, returns=pay)


@app.flow
def slow(order: Order, file: str) -> Flow[str]:
    return linear(reserve.bind(order), wait_for.bind(file), pay, returns=pay)


@app.flow
def impure(order: Order) -> Flow[str]:
    named = pay.named(f"pay-{next(_calls)}")
    return linear(reserve.bind(order), named, returns=named)
