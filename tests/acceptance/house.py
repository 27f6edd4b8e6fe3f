"""A house of rooms, each a run of its own: what the tests of child runs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowledger import App, Flow, Run, TaskContext, linear
from tests.acceptance.stores import ALL, url_of


class House(App):
    """Flows that are rooms of others; ``done`` is what bodies did, in order."""

    def __init__(self, url: str) -> None:
        super().__init__("house", database_url=url)
        self.done: list[str] = []
        self.fails = 0
        self.hold = Event()
        self.hold.set()

        @self.task
        def build(name: str, ctx: TaskContext) -> str:
            while not (self.hold.is_set() or ctx.cancelled):
                Event().wait(0.01)
            self.done.append(f"build {name}")
            return f"built {name}"

        @build.revert
        def pull_down(name: str) -> None:
            self.done.append(f"pull down {name}")

        @self.task
        def inspect(name: str) -> None:
            if self.fails:
                self.fails -= 1
                raise ValueError(f"{name} is crooked")

        @self.flow
        def room(name: str) -> Flow[str]:
            built = build.bind(name)
            return linear(built, inspect.bind(name), returns=built)

        self.room, self.build, self.inspect = room, build, inspect


@pytest.fixture(params=ALL)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    made = House(url_of(request, tmp_path))
    yield made
    made.close()


def child_of(app: App, parent: Run[Any]) -> Run[Any]:
    [child] = [run for run in app.runs() if run.id != parent.id]
    return child
