"""An app with its log in memory: nothing is left when the test is over."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TypeVar

from flowledger.adapters.app import App
from flowledger.adapters.stores import forget

A = TypeVar("A", bound=App)

_numbers = count(1)


@contextmanager
def in_memory(app: A) -> Generator[A]:
    """Within the block, the app keeps its log in memory, whatever its settings say; at the end the log is gone.

    The log stays the same when the app is closed and opened again within the block, as it is after a crash.
    """
    name = f"testing-{next(_numbers)}"
    try:
        with app.using(database_url=f"memory://{name}"):
            yield app
    finally:
        forget(name)


class InMemory:
    """What the fixture `flow_app` is: gives apps in memory until the test is over."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, app: A) -> A:
        """The app, its log in memory from now on to the end of the test."""
        return self._stack.enter_context(in_memory(app))

    def new(self, name: str = "test") -> App:
        """A new app of this name, in memory."""
        return self(App(name))
