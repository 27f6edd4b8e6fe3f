"""Rules C on the real engine: attempts, their outcomes, and what a dead process leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, Permanent, TaskContext, linear
from flowledger.events import facts
from tests.acceptance import dying as dead
from tests.acceptance.dying import Dying
from tests.acceptance.logs import events, log_of, story


@pytest.fixture
def app() -> Iterator[App]:
    app = App("semantics", database_url="memory://")
    yield app
    app.close()


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dying]:
    here = Dying(tmp_path)
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)
    yield here
    dead.app.close()


def test_c1_a_body_runs_only_once_its_start_is_durable(tmp_path: Path) -> None:
    # Given bodies that look into the database file themselves
    app = App("durable", database_url=f"sqlite:///{tmp_path}/log.db")
    seen: list[tuple[str, int]] = []

    def look(kind: str, ctx: TaskContext) -> None:
        with sqlite3.connect(tmp_path / "log.db") as connection:
            query = "SELECT count(*) FROM events WHERE type = ? AND path = ?"
            seen.append((kind, connection.execute(query, (kind, ctx.path)).fetchone()[0]))

    @app.task
    def looks(ctx: TaskContext) -> None:
        look("TaskStarted", ctx)

    @looks.revert
    def looks_again(ctx: TaskContext) -> None:
        look("RevertStarted", ctx)

    @app.task
    def fails() -> None:
        raise ValueError

    @app.flow
    def line() -> Flow[Any]:
        return linear(looks, fails)

    # When they run
    app.run(line(), check=False)
    app.close()

    # Then each found its own start there
    assert seen == [("TaskStarted", 1), ("RevertStarted", 1)]


def test_c3_only_bodies_of_the_dead_process_are_interrupted(dying: Dying) -> None:
    # Given a process that died while one task ran and another waited between two polls
    dying.die("beside")

    # When the run is taken up
    run = dead.run("beside")

    # Then the one that ran was interrupted; the one that waited still waits, as the same attempt
    log = log_of(dead.app, run)
    assert run.state == "SUCCEEDED"
    assert [e.cause != "" for e in events(log, facts.TaskInterrupted, "dies_beside")] == [True]
    assert not list(events(log, facts.TaskInterrupted, "polls"))
    assert len(list(events(log, facts.TaskStarted, "polls"))) == 1


def test_c5_the_key_changes_when_an_outcome_is_known_and_only_then(dying: Dying) -> None:
    # Given a task whose first start dies with its process, whose second fails, and whose third succeeds
    dying.die("once")
    run = dead.run("once")

    # Then the interrupted start and the one after it had one key, the attempt after the failure another
    assert run.state == "SUCCEEDED"
    interrupted, again, after_the_failure = dying.keys("once")
    assert interrupted == again != after_the_failure


def test_c6_interruptions_use_up_no_attempts_and_three_park_the_atom(dying: Dying) -> None:
    # Given a task with two attempts that takes its process with it each time
    for _ in range(3):
        dying.die("poison")

    # When the run is taken up a fourth time
    run = dead.run("poison")

    # Then the body was not run again; what it may have done is undone, its outcome being unknown
    assert run.state == "REVERTED"
    assert dying.calls() == ["deadly"] * 3 + ["revert-unknown"]
    assert [(f.kind, f.path.rpartition("/")[2]) for f in run.failures] == [("poison", "deadly")]
    assert len(set(dying.keys("deadly"))) == 1


def test_c6_a_task_says_how_many_lost_processes_it_takes_to_park_it(dying: Dying) -> None:
    # Given a task with losses=4 that takes its process with it three times
    for _ in range(3):
        dying.die("endured")

    # When the run is taken up, Then it is made a fourth time
    run = dead.run("endured")
    assert (run.state, run.result) == ("SUCCEEDED", 4)
    assert len(set(dying.keys("hardy"))) == 1


def test_c6_the_revert_of_a_task_with_one_loss_is_not_made_again(dying: Dying) -> None:
    # Given a task with losses=1 whose revert takes its process with it
    dying.die("brittle")

    # When the run is taken up
    run = dead.run("brittle")

    # Then its revert is parked at once
    assert run.state == "FAILED"
    assert dying.calls() == ["fragile", "unfragile"]
    assert ("poison", "fragile") in [(f.kind, f.path.rpartition("/")[2]) for f in run.failures]


def test_c6_a_task_may_say_that_an_interruption_is_a_failure(dying: Dying) -> None:
    dying.die("given_up")
    run = dead.run("given_up")
    assert run.state == "REVERTED"
    assert dying.calls() == ["careful"]
    assert [f.kind for f in run.failures] == ["interrupted"]


def test_d5_an_interrupted_revert_is_run_again(dying: Dying) -> None:
    # Given a revert that takes its process with it twice
    for _ in range(2):
        dying.die("undone")

    # When the run is taken up
    run = dead.run("undone")

    # Then the revert was called a third time, under the same key, and the run is undone
    assert run.state == "REVERTED"
    assert dying.calls() == ["before"] + ["unbefore"] * 3
    assert len(set(dying.keys("unbefore"))) == 1


def test_c9_what_failed_before_its_body_ran_is_not_reverted(app: App) -> None:
    # Given a resource that cannot be made
    done: list[str] = []

    @app.resource
    def cloud() -> list[str]:
        raise ConnectionError("no cloud today")

    @app.task
    def first() -> None: ...

    @first.revert
    def undo_first() -> None:
        done.append("undo first")

    @app.task
    def uses(cloud: list[str]) -> None:
        done.append("uses")

    @uses.revert
    def unuse() -> None:
        done.append("unuse")

    @app.flow
    def line() -> Flow[Any]:
        return linear(first, uses)

    # When it runs
    run = app.run(line(), check=False)

    # Then the atom went from PENDING to FAILED
    assert run.state == "REVERTED"
    assert done == ["undo first"]
    assert [(f.kind, f.attempt) for f in run.failures] == [("resource", 0)]
    assert "TaskStarted uses" not in story(log_of(app, run))


def test_c9_a_result_that_does_not_fit_is_reverted_without_it(app: App) -> None:
    done: list[object] = []

    @app.task
    def lies() -> int:
        return "seven"  # type: ignore[return-value]

    @lies.revert
    def unlie(result: int | None, ctx: TaskContext) -> None:
        done.append((result, ctx.outcome))

    @app.flow
    def line() -> Flow[Any]:
        return linear(lies)

    run = app.run(line(), check=False)
    assert run.state == "REVERTED"
    assert done == [(None, "failed")]
    assert [f.kind for f in run.failures] == ["result"]


def test_c10_a_start_records_key_code_and_inputs(app: App) -> None:
    # Given a task with a value of its own and one from a provider
    keys: list[str] = []

    @app.task(provides="base")
    def base(n: int) -> int:
        return n

    @app.task
    def sum_(base: int, more: int, ctx: TaskContext) -> int:
        keys.append(ctx.idempotency_key)
        return base + more

    @app.flow
    def line(n: int, more: int) -> Flow[Any]:
        return linear(base.bind(n), sum_.bind(more=more))

    # When it runs with the same and with other values
    runs = [app.run(line(*values), executor="inline") for values in ((1, 2), (1, 2), (3, 2), (1, 4))]
    same, again, provided, injected = [next(events(log_of(app, run), facts.TaskStarted, "sum_")) for run in runs]

    # Then its start says under which key, with which code, and a digest that depends on the values alone
    assert same.key == keys[0]
    assert same.code == again.code != ""
    assert same.inputs == again.inputs
    assert len({same.inputs, provided.inputs, injected.inputs}) == 3


def test_permanent_ends_the_attempts(app: App) -> None:
    calls: list[int] = []

    @app.task(attempts=5)
    def hopeless(ctx: TaskContext) -> None:
        calls.append(ctx.attempt)
        if ctx.attempt == 2:
            raise Permanent("no such zone")
        raise ValueError

    @app.flow
    def line() -> Flow[Any]:
        return linear(hopeless)

    run = app.run(line(), executor="inline", check=False)
    assert calls == [1, 2]
    assert [f.kind for f in run.failures] == ["permanent"]
