"""RELIABILITY R22: large values and long flows are kept, verified and read back; what is too large is not written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowledger import App, Flow, PayloadTooLarge, Settings, linear
from flowledger.adapters.verifying import verify_all
from flowledger.events import facts
from tests.acceptance.logs import events, log_of

MEGABYTE = 2**20
LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))


def app_on(folder: Path) -> App:
    return App("huge", settings=Settings(database_url=f"sqlite:///{folder}/log.db"))


@pytest.mark.parametrize("size", [MEGABYTE, 15 * MEGABYTE], ids=["1 MB", "15 MB"])
def test_rel_r22_a_large_result_moves_out_and_comes_back(tmp_path: Path, size: int) -> None:
    # Given
    app = app_on(tmp_path)

    @app.task
    def make(size: int) -> str:
        return "x" * size

    @app.task
    def measure(text: str) -> int:
        return len(text)

    @app.flow
    def go(size: int) -> Flow[int]:
        made = make.bind(size)
        measured = measure.bind(made)
        return linear(made, measured, returns=measured)

    # When
    run = app.run(go(size), executor="inline", key="once")
    # Then
    assert run.result == size
    made = next(events(log_of(app, run), facts.TaskSucceeded))
    assert made.moved is not None
    assert verify_all(app.runtime.store).payloads == 1
    app.close()


def test_rel_r22_what_is_too_large_is_a_clean_failure_and_not_written(tmp_path: Path) -> None:
    # Given
    app = app_on(tmp_path)

    @app.task
    def make(size: int) -> str:
        return "x" * size

    @app.task
    def take(text: str) -> int:
        return len(text)

    # When
    run = app.run(make.bind(16 * MEGABYTE), executor="inline", check=False)
    # Then
    assert (run.state, run.failures[0].kind) == ("REVERTED", "result")
    assert run.failures[0].type.endswith(PayloadTooLarge.__name__)
    assert sum(len(event.payload) for event in app.runtime.store.read(run.id)) < 64 * 1024
    assert (tmp_path / "log.db").stat().st_size < MEGABYTE
    app.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tasks", [1_000, pytest.param(10_000, marks=pytest.mark.skipif(not LONG, reason="long"))])
def test_rel_r22_a_long_flow_runs_resumes_and_verifies(tmp_path: Path, tasks: int) -> None:
    # Given a flow that is cut off half way
    from flowledger.testing import crash_at  # noqa: PLC0415

    app = app_on(tmp_path)

    @app.task
    def step(n: int) -> int:
        return n

    @app.flow
    def go() -> Flow[int]:
        last = step.bind(tasks)
        return linear(*(step.bind(n) for n in range(1, tasks)), last, returns=last)

    with crash_at(app, "TaskSucceeded", nth=tasks // 2) as crash:
        app.run(go(), executor="inline", key="once")
    # When
    run = app.run(go(), executor="inline", key="once")
    # Then
    assert (run.id, run.result) == (crash.run_id, tasks)
    done = verify_all(app.runtime.store)
    assert done.holds
    assert done.events >= 2 * tasks
    app.close()
