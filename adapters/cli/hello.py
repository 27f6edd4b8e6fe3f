"""The first program, as `demo --write` puts it down; the README shows the same."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flowledger.events.errors import InputError

HELLO: Final = """\
from flowledger import App, Flow, linear

app = App("hello")


@app.task(provides="greeting")
def greet(name: str) -> str:
    return f"Hello, {name}"


@app.task
def shout(greeting: str) -> str:
    return greeting.upper() + "!"


@app.flow
def hello(name: str) -> Flow[str]:
    return linear(greet.bind(name), shout, returns=shout)


if __name__ == "__main__":
    run = app.run(hello("world"), key="first")
    print(run.result)
"""


def write_hello(path: Path) -> None:
    """Write the program to ``path``, which must be free.

    Raises:
        InputError: there is something already, or the place cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(HELLO)
    except FileExistsError as error:
        raise InputError(f"{path} exists already", field="--write", hint="name another file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}", field="--write", given=str(path)) from error
