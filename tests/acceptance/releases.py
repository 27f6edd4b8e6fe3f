"""One app in several releases over one log: what people deploy while runs are under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowledger import App, Flow, Run, TaskContext
from flowledger.core.plan import Plan
from flowledger.core.replay import check, check_complete
from flowledger.core.state import State
from tests.acceptance.logs import log_of

Build = Callable[["Release"], Flow[Any]]

KEY = "one"


class Release:
    """The code as one deployment has it: the same tasks in all, and a flow ``deploy`` of its own.

    ``done`` says what this release's bodies did: "+a" made, "-a" undone.
    """

    def __init__(self, url: str, build: Build) -> None:
        self.app = app = App("releases", database_url=url)
        self.done: list[str] = []
        self.build = build

        @app.task(provides="made")
        def make(name: str) -> str:
            self.done.append(f"+{name}")
            return name

        @make.revert
        def unmake(name: str) -> None:
            self.done.append(f"-{name}")

        @app.task(read_only=True)
        def pause(ctx: TaskContext) -> None:
            """Has its own run suspended: the moment in which another release is deployed."""
            app.suspend_run(ctx.run_id, reason="a deployment")

        @app.task
        def halts() -> None: ...

        @halts.revert
        def halted(ctx: TaskContext) -> None:
            """As `pause`, on the way back."""
            app.suspend_run(ctx.run_id, reason="a deployment")

        @app.task
        def breaks(name: str) -> None:
            self.done.append(f"!{name}")
            raise ValueError(name)

        @app.task(read_only=True)
        def says(what: bool) -> bool:
            return what

        @app.flow
        def deploy() -> Flow[Any]:
            return build(self)

        self.make, self.pause, self.halts, self.breaks, self.says = make, pause, halts, breaks, says
        self._deploy = deploy

    def part(self, name: str) -> Any:
        """A part that makes ``name``, and is called so."""
        return self.make.bind(name).named(name)

    def parts(self, names: str) -> list[Any]:
        """A part for each letter."""
        return [self.part(name) for name in names]

    def go(self) -> Run[Any]:
        """The call that every release makes: begin the run, or go on with it."""
        return self.app.run(self._deploy(), key=KEY, check=False)

    def plan(self) -> Plan:
        """What this release's code builds."""
        return self.app.plan(self._deploy())

    def checked(self, run: Run[Any]) -> State:
        """The run's log, valid and complete in this release (D8)."""
        state = check(plan := self.plan(), log_of(self.app, run))
        check_complete(plan, state)
        return state
