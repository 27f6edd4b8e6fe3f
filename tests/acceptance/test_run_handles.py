"""A handle of a run says what is the case now, also where it was asked before and the run has gone on since."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowledger import App, Flow, Signal, linear
from flowledger.adapters.ids import new_ulid

from .asked import background, has, until

number = Signal("number", int)


@pytest.fixture
def app() -> Iterator[App]:
    app = App("handles", database_url=f"memory://{new_ulid()}")
    yield app
    app.close()


def test_a_handle_that_was_read_while_the_run_was_under_way_has_its_result_when_it_has_ended(app: App) -> None:
    # Given a run that waits, and a handle that has been looked at meanwhile
    @app.task(read_only=True)
    def one() -> int:
        return 1

    @app.flow
    def asks() -> Flow[int]:
        value = number.wait()
        return linear(one, value, returns=value)

    with background(app, asks()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        handle = app.get(driven.run.id)
        assert (handle.results, handle.failures) == ({"asks/one": 1}, ())
        # When it goes on
        handle.send(number, 7)
    # Then
    assert handle.result == 7
    assert handle.results == {"asks/one": 1, "asks/number": 7}


def test_a_handle_knows_of_what_another_one_has_done(app: App) -> None:
    # Given a run that failed, as two handles have it
    broken = [True]

    @app.task(read_only=True)
    def mends() -> int:
        if broken:
            raise ValueError("not yet")
        return 2

    @app.flow(on_failure="stop")
    def work() -> Flow[int]:
        part = mends.bind()
        return linear(part, returns=part)

    first = app.run(work(), check=False)
    second = app.get(first.id)
    assert [len(run.failures) for run in (first, second)] == [1, 1]
    # When one of them has it run again
    broken.clear()
    first.rerun(reason="mended")
    # Then
    assert [(run.result, run.failures) for run in (first, second)] == [(2, ()), (2, ())]
