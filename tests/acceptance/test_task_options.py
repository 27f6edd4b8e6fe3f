"""What a task may be told, by rule: priorities, progress, what a revert sees of late outcomes, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from flowledger import App, DefinitionError, Flow, Permanent, Progress, Run, TaskContext, linear, unordered
from flowledger.adapters import loading
from flowledger.core.engine import settling
from flowledger.core.engine.attempt import Attempt, Outcome
from flowledger.core.engine.run import RunDriver
from flowledger.events import facts
from tests.acceptance import command_line
from tests.acceptance.logs import events, log_of, story


@pytest.fixture
def app() -> Iterator[App]:
    made = App("options", database_url="memory://")
    yield made
    made.close()


def started(app: App, run: Run[Any], kind: str = "TaskStarted") -> list[str]:
    return [line.removeprefix(f"{kind} ") for line in story(log_of(app, run)) if line.startswith(kind)]


# -- priority (TaskFlow A1) -----------------------------------------------------------------------


def test_taskflow_a1_higher_priorities_start_first_and_equal_ones_in_plan_order(app: App) -> None:
    # Given
    @app.task
    def plain(n: int) -> None: ...

    @app.task(priority=5)
    def urgent(n: int) -> None: ...

    @app.task(priority=-1)
    def lazy(n: int) -> None: ...

    @app.flow
    def work() -> Flow[Any]:
        return unordered(
            *(task.bind(n).named(f"{task.name}-{n}") for n in (1, 2) for task in (lazy, plain, urgent))
        )  # fmt: skip

    # When
    run = app.run(work(), executor="inline")
    # Then
    assert started(app, run) == ["urgent-1", "urgent-2", "plain-1", "plain-2", "lazy-1", "lazy-2"]


def test_taskflow_a1_a_priority_changes_nothing_about_what_waits_for_what(app: App) -> None:
    # Given
    @app.task
    def first() -> None: ...

    @app.task(priority=9)
    def second() -> None: ...

    @app.flow
    def work() -> Flow[Any]:
        return linear(first, second)

    # When / Then
    assert started(app, app.run(work(), executor="inline")) == ["first", "second"]


def test_taskflow_a1_higher_priorities_are_reverted_first_too(app: App) -> None:
    # Given
    @app.task
    def plain() -> None: ...

    @app.task(priority=5)
    def urgent() -> None: ...

    @plain.revert
    def unplain() -> None: ...

    @urgent.revert
    def unurgent() -> None: ...

    @app.task
    def fails() -> None:
        raise ValueError

    @app.flow
    def work() -> Flow[Any]:
        return linear(unordered(plain, urgent), fails)

    # When
    run = app.run(work(), executor="inline", check=False)
    # Then
    assert started(app, run, "RevertStarted")[:2] == ["urgent", "plain"]


def test_taskflow_a1_priorities_hold_inside_an_expansion(app: App) -> None:
    # Given a list that is known only at run time
    @app.task
    def numbers() -> list[int]:
        return [1, 2]

    @app.task
    def plain(n: int) -> None: ...

    @app.task(priority=5)
    def urgent(n: int) -> None: ...

    @app.flow
    def both(n: int) -> Flow[Any]:
        return unordered(plain.bind(n), urgent.bind(n))

    @app.flow
    def work() -> Flow[Any]:
        listed = numbers
        return linear(listed, both.each(listed))

    # When
    run = app.run(work(), executor="inline")
    # Then
    assert started(app, run) == ["numbers", "urgent", "urgent", "plain", "plain"]


@pytest.mark.parametrize("priority", ["high", 1.5, True, 1 << 40])
def test_taskflow_a1_a_priority_is_a_whole_number(app: App, priority: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a whole number"):

        @app.task(priority=priority)
        def task() -> None: ...


# -- C4, C7: what comes too late ------------------------------------------------------------------


def late_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> tuple[App, dict[str, Any]]:
    """A body that does not end in time, nor in the grace after it; it ends once the next attempt has begun."""
    monkeypatch.setattr(settling, "GRACE_S", 0.05)
    app = App("late", database_url=f"sqlite:///{tmp_path}/log.db")
    seen: dict[str, Any] = {"next": Event(), "late": Event()}

    @app.task(timeout=0.5, attempts=2)
    def slow(ctx: TaskContext) -> str:
        if ctx.attempt == 1:
            assert seen["next"].wait(30)
            if fails:
                raise ValueError("too late")
            return "x" * 70_000
        seen["next"].set()
        return "second"

    @slow.revert
    def unslow(ctx: TaskContext) -> None:
        seen["others"] = ctx.other_outcomes

    @app.task
    def fails_once_the_late_one_is_known() -> None:
        run_id = TaskContext.current().run_id
        while not any(e.type == "OutcomeIgnored" for e in loading.read(app.runtime.store, run_id)):
            Event().wait(0.01)
        raise ValueError

    @app.flow
    def work() -> Flow[Any]:
        return linear(slow, fails_once_the_late_one_is_known)

    seen["flow"] = work
    return app, seen


@pytest.mark.parametrize("fails", [False, True])
def test_c4_a_revert_sees_outcomes_that_came_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    # Given
    app, seen = late_app(tmp_path, monkeypatch, fails=fails)
    # When
    run = app.run(seen["flow"](), check=False)
    # Then the first outcome counts, and the revert knows of the other
    assert run.state == "REVERTED"
    [other] = seen["others"]
    assert (other.attempt, other.outcome) == (1, "failed" if fails else "succeeded")
    assert other.result == (None if fails else "x" * 70_000)
    if fails:
        assert other.failure is not None
        assert other.failure.cause is not None
        assert (other.failure.kind, other.failure.cause.message) == ("timeout", "too late")
    app.close()


def test_c4_nothing_is_written_of_an_outcome_that_comes_when_the_run_is_over(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a body that ends after the run's last event, while what the run had made is being closed
    closing, reported = Event(), Event()
    report = RunDriver._report  # pyright: ignore[reportPrivateUsage]

    def reporting(driver: RunDriver, attempt: Attempt, outcome: Outcome) -> None:
        report(driver, attempt, outcome)
        reported.set()

    monkeypatch.setattr(RunDriver, "_report", reporting)
    monkeypatch.setattr(settling, "GRACE_S", 0.05)

    @app.resource(scope="run")
    async def door() -> AsyncIterator[str]:
        yield "open"
        closing.set()
        assert await asyncio.to_thread(reported.wait, 30)

    @app.task
    def enter(door: str) -> None: ...

    @app.task(timeout=0.05)
    def slow() -> None:
        assert closing.wait(30)

    @app.flow
    def visit() -> Flow[Any]:
        return linear(enter, slow)

    # When
    run = app.run(visit(), check=False)
    # Then
    assert story(log_of(app, run))[-1] == "RunReverted"


def test_c7_a_body_that_is_given_up_is_said_to_run_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    app, seen = late_app(tmp_path, monkeypatch, fails=False)
    # When
    run = app.run(seen["flow"](), check=False)
    # Then
    [failed] = list(events(log_of(app, run), facts.TaskFailed, "slow"))
    assert (failed.failure.kind, failed.still_running, failed.attempt) == ("timeout", True, 1)
    app.close()


def test_c7_an_async_body_that_is_cancelled_runs_no_more(app: App) -> None:
    # Given
    @app.task(timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    # When
    run = app.run(slow.bind(), check=False)
    # Then
    [failed] = list(events(log_of(app, run), facts.TaskFailed))
    assert (failed.failure.kind, failed.still_running) == ("timeout", False)


def test_c7_d1_a_body_sees_that_it_should_stop_and_when_it_must(app: App) -> None:
    # Given
    seen: dict[str, object] = {}

    @app.task(deadline=300)
    def watches(ctx: TaskContext) -> None:
        seen["deadline"] = ctx.deadline
        seen["same"] = TaskContext.current() is ctx
        while not ctx.cancelled:
            Event().wait(0.01)
        seen["cancelled"] = True

    @app.task
    def fails() -> None:
        raise ValueError

    @app.flow
    def work() -> Flow[Any]:
        return unordered(watches, fails)

    # When
    app.run(work(), check=False)
    # Then
    assert (seen["cancelled"], seen["same"]) == (True, True)
    assert isinstance(seen["deadline"], datetime)
    with pytest.raises(DefinitionError, match="outside a running task"):
        TaskContext.current()


# -- retry_on, Permanent, and the options of a revert ---------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts"), [(TimeoutError("x"), 3), (ValueError("x"), 1), (Permanent("x"), 1)], ids=repr
)
def test_c9_only_what_retry_on_names_is_tried_again(app: App, error: Exception, attempts: int) -> None:
    # Given
    @app.task(attempts=3, retry_on=(TimeoutError, OSError))
    def fails() -> None:
        raise error

    # When
    run = app.run(fails.bind(), check=False)
    # Then
    assert len(started(app, run)) == attempts


def test_d5_a_revert_has_attempts_and_a_back_off_and_a_time_of_its_own(app: App) -> None:
    # Given a revert that hangs, then fails, then does it
    calls: list[int] = []

    @app.task
    def made() -> None: ...

    @made.revert(attempts=3, backoff=0.01, timeout=0.5)
    async def unmade(ctx: TaskContext) -> None:
        calls.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        if ctx.attempt == 2:
            raise ValueError("not yet")

    @app.task
    def fails() -> None:
        raise ValueError

    @app.flow
    def work() -> Flow[Any]:
        return linear(made, fails)

    # When
    run = app.run(work(), check=False)
    # Then
    assert (run.state, calls) == ("REVERTED", [1, 2, 3])
    failed = list(events(log_of(app, run), facts.RevertFailed))
    assert [(e.failure.kind, e.again, e.until is not None) for e in failed] == [
        ("timeout", True, True), ("error", True, True),
    ]  # fmt: skip


# -- F2: progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "sqlite", "postgres"])
def test_f2_progress_is_seen_while_it_runs_and_the_log_has_the_last_of_it(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    # Given a body that says how far it has got, and goes on once somebody has seen it
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}.get(where) or request.getfixturevalue(
        "postgres_url"
    )
    app = App("options", database_url=url)
    seen: list[object] = []

    @app.task
    def copies(ctx: TaskContext) -> None:
        ctx.progress(0.25, "one of four")
        ctx.progress(0.5, "two of four")
        run = app.get(ctx.run_id)
        while (said := run.progress.get(ctx.path)) is None or said.fraction < 0.5:
            Event().wait(0.01)
        seen.append(said)
        ctx.progress(2, "all of it")

    # When
    run = app.run(copies.bind())
    # Then
    assert seen == [Progress(run.id, "copies", 1, 0.5, "two of four")]
    log = log_of(app, run)
    [ended] = list(events(log, facts.TaskSucceeded))
    assert (ended.progress and (ended.progress.fraction, ended.progress.message)) == (1.0, "all of it")
    assert b"two of four" not in b"".join(e.payload for e in app.runtime.store.read(run.id))
    # And nothing is left of it beside the log
    store = app.runtime.store
    until = monotonic() + 30
    while store.progress.of(run.id):
        assert monotonic() < until
    app.close()


def test_f2_a_failure_has_the_last_progress_too(app: App) -> None:
    # Given
    @app.task
    def copies(ctx: TaskContext) -> None:
        ctx.progress(0.7)
        raise ValueError

    # When
    run = app.run(copies.bind(), check=False)
    # Then
    [failed] = list(events(log_of(app, run), facts.TaskFailed))
    assert failed.progress == facts.Progress(fraction=0.7)


def test_f2_show_says_how_far_a_body_has_got_in_another_process(tmp_path: Path) -> None:
    # Given a run whose body waits for somebody to look
    url = f"sqlite:///{tmp_path}/log.db"
    app = App("options", database_url=url)
    shown: list[str] = []

    @app.task
    def copies(ctx: TaskContext) -> None:
        ctx.progress(0.5, "two of four")
        until = monotonic() + 30
        while monotonic() < until and not (shown and "50%" in shown[-1]):
            shown.append(command_line.run("show", ctx.run_id, "--database-url", url, cwd=tmp_path).out)

    # When
    app.run(copies.bind())
    # Then
    assert "50% two of four" in shown[-1]
    app.close()
