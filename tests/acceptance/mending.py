"""A world in which things break and are mended: what reruns and forks are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, Retry, Run, TaskContext, linear
from flowledger.core.replay import check, check_complete
from flowledger.core.state import State
from tests.acceptance.logs import log_of
from tests.acceptance.stores import ALL, url_of
from tests.agreeing import views_agree


class Mending:
    """Tasks whose bodies fail while their name is in ``broken`` (``-name``: their revert does).

    ``done`` says what the bodies did, in order: "+a" made, "!a" failed, "-a" undone.
    """

    def __init__(self, url: str = "memory://") -> None:
        self.app = app = App("mending", database_url=url)
        self.broken: set[str] = set()
        self.done: list[str] = []
        self.flow: Any = None  # where a test wants it here
        self.keys: dict[str, list[str]] = {}

        @app.task
        def make(name: str, ctx: TaskContext, of: Any = None) -> str:
            self.keys.setdefault(name, []).append(ctx.idempotency_key)
            if name in self.broken:
                self.done.append(f"!{name}")
                raise ValueError(name)
            self.done.append(f"+{name}")
            return name if of is None else f"{name}({of})"

        @make.revert
        def unmake(name: str, result: str | None, of: Any = None) -> None:
            if f"-{name}" in self.broken:
                raise ValueError(f"cannot undo {name}")
            self.done.append(f"-{name}")

        @app.task(read_only=True)
        def yes(answer: bool) -> bool:
            self.done.append("?")
            return answer

        self.make, self.yes = make, yes

    def part(self, name: str, of: Any = None) -> Any:
        """A part that makes ``name``, and is called so."""
        return self.make.bind(name, of=of).named(name) if of is not None else self.make.bind(name).named(name)

    def parts(self, names: str) -> list[Any]:
        """A part for each letter."""
        return [self.part(name) for name in names]

    def said(self) -> list[str]:
        """What has been done since this was asked last."""
        done, self.done[:] = list(self.done), []
        return done

    def checked(self, run: Run[Any], part: Any) -> State:
        """The run's log: valid and complete (D8)."""
        plan = self.app.plan(part)
        state = check(plan, log_of(self.app, run))
        check_complete(plan, state)
        views_agree(self.app.runtime.store, log_of(self.app, run))
        return state


class Counting(Retry[int]):
    """Counts its rounds, and gives up after two."""

    provides = "round"

    def value(self, history: Any) -> int:
        return len(history) + 1

    def on_failure(self, history: Any) -> Any:
        return "RETRY" if len(history) < 2 else "REVERT"


@pytest.fixture(params=ALL)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mending]:
    """One on each store."""
    world = Mending(url_of(request, tmp_path))
    yield world
    world.app.close()


@pytest.fixture
def w() -> Iterator[Mending]:
    """One in memory."""
    world = Mending()
    yield world
    world.app.close()


def stopped(world: Mending, *parts: Any) -> Any:
    """A flow of these parts that keeps everything when it fails."""

    @world.app.flow(on_failure="stop", name="line")
    def line() -> Flow[Any]:
        return linear(*parts, returns=parts[-1])

    return line()
