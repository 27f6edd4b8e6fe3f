"""What the ancestor's behaviours are told with: an app in memory, and tasks that say what they do."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from flowledger import App


class World:
    """Tasks by name: each says ``+name`` when it runs and ``-name`` when it is undone; ``failing`` ones raise."""

    def __init__(self) -> None:
        self.app = App("ancestor", database_url="memory://")
        self.said: list[str] = []
        self.failing: set[str] = set()
        self.failing_reverts: set[str] = set()
        said, failing, failing_reverts = self.said, self.failing, self.failing_reverts

        @self.app.task
        def step(name: str) -> str:
            said.append(f"+{name}")
            if name in failing:
                raise ValueError(name)
            return name

        @step.revert
        def unstep(name: str) -> None:
            said.append(f"-{name}")
            if name in failing_reverts:
                raise OSError(f"cannot undo {name}")

        self._step = step

    def suspend(self, run_id: str) -> None:
        """Ask, and wait until the run has heard it. Called in a body."""
        run, pause = self.app.get(run_id), Event()
        run.suspend(reason="look")
        while run.state != "SUSPENDING":
            pause.wait(0.005)

    def task(self, name: str) -> Any:
        """A task of this name."""
        return self._step.bind(name).named(name)


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.app.close()
