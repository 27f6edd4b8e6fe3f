"""Bodies of tasks may look at runs, ask things of them, and drive them: their plans are not placed in the body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowledger import App, Flow, RunReverted, TaskContext, linear
from flowledger.adapters.ids import new_ulid

from .asked import check_replay


@pytest.fixture
def app() -> Iterator[App]:
    app = App("looking", database_url=f"memory://{new_ulid()}")
    yield app
    app.close()


class Growing:
    """A flow whose plan is made with placing, and grows while it runs."""

    def __init__(self, app: App) -> None:
        @app.task(read_only=True)
        def numbers() -> list[int]:
            return [1, 2]

        @app.task(read_only=True)
        def double(n: int) -> int:
            return 2 * n

        @app.flow
        def one(n: int) -> Flow[int]:
            twice = double.bind(n)
            return linear(twice, returns=twice)

        @app.flow
        def doubled() -> Flow[list[int]]:
            found = numbers.bind()
            every = one.each(found).named("every")
            return linear(found, every, returns=every)

        self.doubled = doubled


def test_a_body_may_look_at_another_run(app: App) -> None:
    # Given
    growing = Growing(app)
    done = app.run(growing.doubled(), key="done")

    @app.task(read_only=True)
    def look(run_id: str) -> list[int]:
        run = app.get(run_id)
        assert run.failures == ()
        assert run.rerun(reason="", from_="doubled/every", dry_run=True).runs_again
        assert run.fork(reason="", at="doubled/every", dry_run=True).keeps == ("doubled/numbers",)
        return [*run.result, *run.results.values()][:2]

    # When / Then
    assert app.run(look.bind(done.id)).result == [2, 4]


def test_a_body_may_drive_another_run_also_one_that_grows(app: App) -> None:
    growing = Growing(app)
    waiting = app.submit(growing.doubled())

    @app.task(read_only=True)
    def drive(run_id: str) -> Any:
        return app.get(run_id).wait(30)

    assert app.run(drive.bind(waiting.id)).result == [2, 4]
    check_replay(app, growing.doubled(), waiting)


def test_g4_a_body_may_have_its_own_run_cancelled(app: App) -> None:
    # Given
    done: list[str] = []

    @app.task
    def make() -> None:
        done.append("+make")

    @make.revert
    def unmake() -> None:
        done.append("-make")

    @app.task
    def give_up(ctx: TaskContext) -> tuple[str, ...]:
        return app.get(ctx.run_id).cancel(reason="nobody wants it any more").reverts

    @app.flow
    def work() -> Flow[None]:
        return linear(make, give_up)

    # When
    run = app.run(work(), check=False)
    # Then
    assert (run.state, done) == ("CANCELLED", ["+make", "-make"])
    check_replay(app, work(), run)


def test_placing_in_a_body_is_refused_as_before(app: App) -> None:
    growing = Growing(app)

    @app.task
    def place() -> None:
        growing.doubled()

    with pytest.raises(RunReverted, match="was called while place is running"):
        app.run(place.bind())
