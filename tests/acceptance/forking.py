"""Worlds in which runs are forked: what the tests of forks have in common."""

from __future__ import annotations

from typing import Any

from flowledger import (
    App,
    Flow,
    Run,
    linear,
    unordered,
)
from flowledger.adapters.sources import source_of
from flowledger.core.replay import check, check_complete
from tests.acceptance.logs import log_of
from tests.acceptance.mending import Mending
from tests.agreeing import views_agree


def checked(app: App, run: Run[Any], part: Any) -> None:
    """The fork's log is valid and complete, given what its source had (D8)."""
    log = log_of(app, run)
    source = source_of(app.runtime.store, log, goes_on=True)
    plan = app.plan(part)
    check_complete(plan, check(plan, log, moved=dict(source.moved), taken=source.had))
    views_agree(app.runtime.store, log)


def chain(world: Mending, *, on_failure: Any = "stop") -> Any:
    """A flow of two inputs: a takes the first, b the second, c what a made, d comes last."""

    @world.app.flow(on_failure=on_failure)
    def chain(first: str, second: str = "y") -> Flow[str]:
        a = world.make.bind("a", of=first).named("a")
        b = world.make.bind("b", of=second).named("b")
        c = world.make.bind("c", of=a).named("c")
        d = world.make.bind("d").named("d")
        return linear(unordered(a, b, name="both"), c, d, returns=c)

    return chain
