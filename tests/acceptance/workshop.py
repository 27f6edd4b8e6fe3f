"""An app for the command line in which things break and are mended: a file ``broken`` names the parts that fail."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from flowledger import App, Flow, TaskContext, linear

app = App("workshop")

#: What has been deployed: the tests set it, as if another release of this module had been loaded.
CODE = "WORKSHOP_CODE"


class Table(BaseModel):
    """What is made."""

    wood: str = "oak"
    legs: int = 4


def _do(what: str) -> None:
    with Path("done").open("a") as done:
        done.write(f"{what} ")
    if what in (Path("broken").read_text().split() if Path("broken").exists() else ()):
        raise ValueError(f"{what} is broken")


@app.task
def saw(wood: str) -> str:
    _do("saw")
    return f"{wood} boards"


@saw.revert
def unsaw(wood: str) -> None:
    _do("unsaw")


@app.task
def turn(legs: int) -> str:
    _do("turn")
    return f"{legs} legs"


@turn.revert
def unturn(legs: int) -> None:
    _do("unturn")


@app.task
def glue(boards: str, legs: str) -> str:
    _do("glue")
    return f"a table of {boards} and {legs}"


@glue.revert
def unglue() -> None:
    _do("unglue")


@app.task(read_only=True)
def rest(ctx: TaskContext) -> None:
    if Path("pause").exists():
        app.suspend_run(ctx.run_id, reason="the end of the day")


@app.task(read_only=True)
def sign(table: str) -> str:
    return f"{table}, signed"


@app.flow(on_failure="stop")
def build(table: Table, colour: str = "none") -> Flow[str]:
    boards, legs = saw.bind(table.wood), turn.bind(table.legs)
    made = glue.bind(boards, legs)
    match os.environ.get(CODE):
        case "more":
            signed = sign.bind(made)
            return linear(boards, legs, rest, made, signed, returns=signed)
        case "gone":
            made = glue.bind("no boards", legs)
            return linear(legs, rest, made, returns=made)
        case _:
            return linear(boards, legs, rest, made, returns=made)
