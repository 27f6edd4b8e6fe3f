"""Runs of which something is asked: what the tests of requests have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, linear, sleep
from flowledger.adapters.ids import new_ulid
from tests.acceptance.stores import ALL, url_of

from .asked import Gate


@pytest.fixture(params=ALL)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    app = App("asked", database_url=url_of(request, tmp_path))
    yield app
    app.close()


@pytest.fixture
def memory() -> Iterator[App]:
    """For what does not depend on the store."""
    app = App("asked", database_url=f"memory://{new_ulid()}")
    yield app
    app.close()


class World:
    """Tasks that say what they do; `make`, then `hold` at a gate, then `after`."""

    def __init__(self, app: App, *, on_failure: Any = "revert") -> None:
        self.done: list[str] = []
        self.gate = Gate()

        @app.task
        def make() -> int:
            self.done.append("+make")
            return 1

        @make.revert
        def unmake() -> None:
            self.done.append("-make")

        @app.task
        def hold() -> None:
            self.done.append("+hold")
            self.gate.wait()

        @hold.revert
        def unhold() -> None:
            self.done.append("-hold")

        @app.task
        def after() -> None:
            self.done.append("+after")

        @app.flow(on_failure=on_failure)
        def work() -> Flow[None]:
            return linear(make, hold, after)

        @app.flow
        def waiting() -> Flow[None]:
            return linear(make, sleep(3600), after)

        self.work, self.waiting = work, waiting
