"""Rules D on the real engine: failure, draining, retry, revert. One example each; `tests/properties` has the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import Any

import pytest

from flowledger import App, Flow, Retry, RunFailed, RunReverted, TaskContext, Times, linear, unordered
from flowledger.core.replay import check, check_complete
from flowledger.core.retry import Try
from flowledger.events import facts
from flowledger.events.facts import Decision
from tests.acceptance.logs import events, log_of, story


@pytest.fixture
def app() -> Iterator[App]:
    app = App("semantics", database_url="memory://")
    yield app
    app.close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Come back when it holds."""
    pause = Event()
    for _ in range(10_000):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError("it never came to that")


def doers(app: App, done: list[str]) -> tuple[Any, Any]:
    """A task that succeeds and one that fails; both say in ``done`` what was called."""

    @app.task
    def good(name: str) -> str:
        done.append(f"+{name}")
        return name

    @good.revert
    def undo_good(name: str, result: str | None) -> None:
        done.append(f"-{name}" if result == name else f"?{name}")

    @app.task
    def bad(name: str) -> None:
        done.append(f"!{name}")
        raise ValueError(name)

    @bad.revert
    def undo_bad(name: str) -> None:
        done.append(f"-{name}")

    return good, bad


def test_d1_a_failing_scope_lets_finish_what_runs_and_starts_nothing_more(app: App) -> None:
    # Given a task that fails while its neighbour runs, and one that would come after the neighbour
    failed = Event()
    seen: list[str] = []

    @app.task
    def slow(ctx: TaskContext) -> None:
        assert failed.wait(10)
        wait_until(lambda: ctx.cancelled)
        seen.append("slow saw the flag")

    @app.task
    def after() -> None:
        seen.append("after")

    @app.task
    def breaks() -> None:
        failed.set()
        raise ValueError("broken")

    @app.flow
    def sides() -> Flow[Any]:
        return unordered(linear(slow, after, name="line"), breaks)

    # When it runs
    run = app.run(sides(), check=False)

    # Then the neighbour was let finish, and nothing started after the failure
    told = story(log_of(app, run))
    assert run.state == "REVERTED"
    assert seen == ["slow saw the flag"]
    assert told.index("TaskFailed breaks") < told.index("TaskSucceeded slow") < told.index("ScopeReverting")


def test_d1_a_scope_beside_the_failing_one_goes_on(app: App) -> None:
    # Given a scope that fails while its neighbour waits in the middle of its work
    asked, seen = Event(), list[str]()

    class Says(Retry[None]):
        def value(self, history: Sequence[Try[None]]) -> None:
            return None

        def on_failure(self, history: Sequence[Try[None]]) -> Decision:
            asked.set()
            return "RETRY" if len(history) < 2 else "REVERT"

    @app.task
    def breaks_once() -> None:
        if not asked.is_set():
            raise ValueError("once")

    @app.task
    def first() -> None:
        assert asked.wait(10)

    @app.task
    def second() -> None:
        seen.append("second")

    @app.flow
    def sides() -> Flow[Any]:
        return unordered(linear(breaks_once, name="a", retry=Says()), linear(first, second, name="b", retry=Times(1)))

    # When it runs
    app.run(sides())

    # Then the neighbour has started more after the failure
    assert seen == ["second"]


def test_d2_a_drained_scope_is_asked_once_with_all_failures_in_plan_order(app: App) -> None:
    # Given two tasks that fail at the same time, the later one first
    both = Event()
    asked: list[list[str]] = []

    class Listens(Retry[None]):
        def value(self, history: Sequence[Try[None]]) -> None:
            return None

        def on_failure(self, history: Sequence[Try[None]]) -> Decision:
            asked.append([failure.message for failure in history[-1].failures])
            return "REVERT"

    @app.task
    def early() -> None:
        assert both.wait(10)
        raise ValueError("early")

    @app.task
    def late() -> None:
        both.set()
        raise ValueError("late")

    @app.flow
    def pair() -> Flow[Any]:
        return unordered(early, late, retry=Listens())

    # When it runs
    run = app.run(pair(), check=False)

    # Then there was one question, and it had both
    assert asked == [["early", "late"]]
    assert [f.message for f in next(events(log_of(app, run), facts.RetryDecided)).failures] == ["early", "late"]


def test_d2_one_revert_over_the_widest_scope_reached(app: App) -> None:
    # Given an inner retry that gives up and an outer one that tries again
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def deep() -> Flow[Any]:
        inner = linear(good.bind("b").named("b"), bad.bind("x").named("x"), name="inner", retry=Times(1))
        return linear(good.bind("a").named("a"), inner, retry=Times(2))

    # When it runs
    run = app.run(deep(), executor="inline", check=False)

    # Then each round is undone as a whole, from its end to its beginning
    assert done == ["+a", "+b", "!x", "-x", "-b", "-a"] * 2
    assert story(log_of(app, run)).count("ScopeReverting deep") == 1  # round 1; the last is undone by the run's own


def test_d2_revert_all_goes_straight_to_the_root(app: App) -> None:
    # Given an outer retry that would try again, and an inner one that says REVERT_ALL
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def deep() -> Flow[Any]:
        inner = linear(bad.bind("x"), name="inner", retry=Times(1, revert_all=True))
        return linear(good.bind("a"), inner, retry=Times(5))

    # When it runs
    run = app.run(deep(), executor="inline", check=False)

    # Then the outer one was never asked
    assert run.state == "REVERTED"
    assert done == ["+a", "!x", "-x", "-a"]
    assert [e.decision for e in events(log_of(app, run), facts.RetryDecided)] == ["REVERT_ALL"]


def test_d3_a_reverted_run_leaves_nothing_standing_and_a_stopped_one_everything(app: App) -> None:
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def straight() -> Flow[Any]:
        return linear(good.bind("a"), bad.bind("x"))

    # When the same flow fails under both answers of the root
    with pytest.raises(RunReverted) as reverted:
        app.run(straight(), executor="inline")
    with pytest.raises(RunFailed) as stopped:
        app.run(straight(), executor="inline", on_failure="stop")

    # Then one has undone all it did, the other has kept it and says why it ended
    assert done == ["+a", "!x", "-x", "-a", "+a", "!x"]
    assert isinstance(reverted.value.__cause__, ValueError)
    assert [f.message for f in stopped.value.failures] == ["x"]
    assert [e.reason for e in events(log_of(app, stopped.value.run), facts.RunFailed)] == ["stopped"]


def test_d4_a_revert_gets_the_arguments_its_execute_had(app: App) -> None:
    # Given a task that takes the number of the round
    seen: list[tuple[str, int]] = []

    @app.task
    def numbered(round_: int) -> int:
        seen.append(("execute", round_))
        return round_ * 10

    @numbered.revert
    def forget(round_: int, result: int | None) -> None:
        seen.append(("revert", round_))
        assert result == round_ * 10

    @app.task
    def fails_once(round_: int) -> None:
        if round_ == 1:
            raise ValueError

    @app.flow
    def rounds() -> Flow[Any]:
        times = Times(2)
        return linear(numbered.bind(times), fails_once.bind(times), retry=times)

    # When the first round fails
    run = app.run(rounds(), executor="inline")

    # Then its revert saw the value of that round, and the new one was visible only after the reset
    assert seen == [("execute", 1), ("revert", 1), ("execute", 2)]
    scope = [
        line for line in story(log_of(app, run)) if line.split()[0] in ("TaskReverted", "ScopeReset", "RoundStarted")
    ]
    assert scope[-2:] == ["ScopeReset rounds", "RoundStarted rounds"]


def test_d4_a_provider_stands_until_its_consumers_are_reverted(app: App) -> None:
    done: list[str] = []
    good, bad = doers(app, done)

    @app.task
    def uses(name: str, of: str) -> None:
        done.append(f"+{name}")

    @uses.revert
    def unuse(name: str, of: str) -> None:
        done.append(f"-{name}({of})")

    @app.flow
    def providing() -> Flow[Any]:
        provider = good.bind("p")
        users = unordered(*[uses.bind(n, provider).named(n) for n in ("u1", "u2")], name="users")
        return linear(provider, users, bad.bind("x"))

    # When all of it is undone
    app.run(providing(), executor="inline", check=False)

    # Then the provider goes last
    assert done[-4:] == ["-x", "-u1(p)", "-u2(p)", "-p"]


def test_d4_an_empty_flow_in_between_does_not_cut_the_order_of_reverts(app: App) -> None:
    # Given nothing between two tasks, as `each([])` gives it (found by the model)
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def hollow() -> Flow[Any]:
        nothing = linear(unordered(name="no-one"), good.each([]), name="nothing")
        return linear(good.bind("a").named("a"), nothing, good.bind("b").named("b"), bad.bind("x"))

    # When all of it is undone
    app.run(hollow(), executor="inline", check=False)

    # Then the later one goes first
    assert done == ["+a", "+b", "!x", "-x", "-b", "-a"]


def test_d5_a_failed_revert_stops_what_depends_on_it_and_nothing_else(app: App) -> None:
    # Given a line whose middle cannot be undone, beside one that can
    done: list[str] = []
    good, bad = doers(app, done)

    @app.task
    def stuck() -> None:
        done.append("+stuck")

    @stuck.revert
    def unstick() -> None:
        raise OSError("cannot be undone")

    @app.flow
    def partly() -> Flow[Any]:
        line = linear(good.bind("a").named("a"), stuck, good.bind("b").named("b"), name="line")
        return linear(unordered(line, good.bind("c").named("c"), name="both"), bad.bind("x"))

    # When the run fails
    with pytest.raises(RunFailed) as failed:
        app.run(partly(), executor="inline")

    # Then only what comes before the stuck one stands
    assert done == ["+a", "+stuck", "+b", "+c", "!x", "-x", "-b", "-c"]
    assert [e.reason for e in events(log_of(app, failed.value.run), facts.RunFailed)] == ["revert_failed"]


def test_d6_times_counts_executions_and_an_outer_retry_starts_the_inner_afresh(app: App) -> None:
    done: list[str] = []
    _, bad = doers(app, done)

    @app.flow
    def twice_three_times() -> Flow[Any]:
        inner = linear(bad.bind("x"), name="inner", retry=Times(3))
        return linear(inner, retry=Times(2))

    # When everything fails always
    run = app.run(twice_three_times(), executor="inline", check=False)

    # Then there were 2 x 3 executions, and the inner rounds were counted from 1 twice
    assert done.count("!x") == 6
    inner = [e.event for e in log_of(app, run) if e.path.endswith("inner") and isinstance(e.event, facts.RoundStarted)]
    assert [e.round for e in inner] == [1, 2, 3, 1, 2, 3]


class _Broken(Retry[int]):
    def __init__(self, where: str) -> None:
        self.where = where

    def value(self, history: Sequence[Try[int]]) -> int:
        if self.where == "value":
            raise LookupError("no value")
        return 1

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        raise LookupError("no answer")


@pytest.mark.parametrize("where", ["value", "on_failure"])
def test_d7_an_error_in_a_retry_is_a_failure_like_any_other(app: App, where: str) -> None:
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def broken() -> Flow[Any]:
        inner = linear(bad.bind("x"), name="inner", retry=_Broken(where))
        return linear(good.bind("a"), inner)

    # When a retry's own code raises
    with pytest.raises(RunReverted) as reverted:
        app.run(broken(), executor="inline")

    # Then the run is undone, not left half-way, and says what it was
    assert done[0] == "+a"
    assert done[-1] == "-a"
    assert any("LookupError" in failure.type for failure in reverted.value.failures)


def test_d7_an_argument_that_does_not_convert_is_a_failure_of_its_atom(app: App) -> None:
    done: list[str] = []

    @app.task(provides="size")
    def measured() -> Any:
        return "many"

    @measured.revert  # type: ignore[untyped-decorator]
    def unmeasure() -> None:
        done.append("-measured")

    @app.task
    def takes(size: int) -> None:
        done.append("takes")

    @takes.revert
    def untake() -> None:
        done.append("-takes")

    @app.flow
    def line() -> Flow[Any]:
        return linear(measured, takes)

    # When a value cannot become what the argument asks for
    run = app.run(line(), executor="inline", check=False)

    # Then the body never ran, and what never ran is not reverted (C9)
    assert run.state == "REVERTED"
    assert done == ["-measured"]
    assert [(f.kind, f.attempt) for f in run.failures] == [("arguments", 0)]


def test_d8_two_inline_logs_are_equal_and_replay_finds_them_valid(app: App) -> None:
    done: list[str] = []
    good, bad = doers(app, done)

    @app.flow
    def mixed() -> Flow[Any]:
        inner = linear(good.bind("b").named("b"), bad.bind("x"), name="inner", retry=Times(2))
        return linear(unordered(good.bind("a").named("a"), good.bind("c").named("c"), name="both"), inner)

    # When the same flow runs twice
    runs = [app.run(mixed(), executor="inline", check=False) for _ in range(2)]

    # Then the logs tell the same story, and each event was enabled just before it
    logs = [log_of(app, run) for run in runs]
    assert story(logs[0]) == story(logs[1])
    plan = app.plan(mixed(), executor="inline")
    for log in logs:
        check_complete(plan, check(plan, log))
