"""Rules A1, B4, B5, F and G on the real engine: who runs what where, when it waits, and what a person may ask of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from flowledger import App, Flow, IllegalRequest, KeyConflict, NotReady, TaskContext, linear, unordered
from flowledger.adapters.appender import Done, GroupAppender
from flowledger.events import facts
from flowledger.events.store import Append, AppendResult
from tests.acceptance.logs import events, log_of, story


@pytest.fixture
def app() -> Iterator[App]:
    app = App("semantics", database_url="memory://")
    yield app
    app.close()


# -- A: appending ---------------------------------------------------------------------------------


def test_a1_a_run_has_one_append_in_flight_and_what_gathers_rides_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run with many bodies at once, and an eye on what is asked of the appender
    in_flight: Counter[str] = Counter()
    most, sizes = [0], list[int]()
    real = GroupAppender.append

    def watched(self: GroupAppender, request: Append, done: Done) -> None:
        in_flight[request.run_id] += 1
        most[0] = max(most[0], in_flight[request.run_id])
        sizes.append(len(request.events))

        def answered(result: AppendResult) -> None:
            in_flight[request.run_id] -= 1
            done(result)

        real(self, request, answered)

    monkeypatch.setattr(GroupAppender, "append", watched)
    app = App("many", database_url=f"sqlite:///{tmp_path}/log.db")

    @app.task(read_only=True)
    def quick(n: int) -> int:
        return n

    @app.flow
    def many() -> Flow[Any]:
        return quick.each(range(100))

    # When they end while appends are under way
    run = app.run(many())
    app.close()

    # Then no append overtook another, and none was made for a single event where several had gathered
    assert run.key is None
    assert most == [1]
    assert sum(sizes) > 200
    assert len(sizes) < 200


# -- B: processes and threads ---------------------------------------------------------------------


def test_b4_sync_bodies_run_in_threads_unless_inline_and_async_ones_on_the_loop(app: App) -> None:
    where: dict[str, str] = {}

    @app.task
    def sync() -> None:
        where["sync"] = threading.current_thread().name

    @app.task(executor="inline")
    def inline() -> None:
        where["inline"] = threading.current_thread().name

    @app.task
    async def native() -> None:
        assert asyncio.get_running_loop().is_running()
        where["native"] = threading.current_thread().name

    @app.flow
    def line() -> Flow[Any]:
        return linear(sync, inline, native)

    # When they run as they are
    app.run(line())

    # Then only the plain sync one had a thread of its own
    assert where["native"] == where["inline"] != where["sync"]
    assert where["sync"] != threading.current_thread().name

    # When all is asked to run inline
    app.run(line(), executor="inline")

    # Then none has
    assert len(set(where.values())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_b5_an_exit_out_of_a_body_nobody_cancelled_is_a_failure_of_that_attempt(
    app: App, error: type[BaseException], executor: Any
) -> None:
    @app.task
    def exits() -> None:
        raise error

    @app.flow
    def line() -> Flow[Any]:
        return linear(exits)

    # When a body raises what would end a process
    run = app.run(line(), executor=executor, check=False)

    # Then the process lives, and the attempt has failed
    assert run.state == "REVERTED"
    assert [e.failure.type.rpartition(".")[2] for e in events(log_of(app, run), facts.TaskFailed)] == [error.__name__]


# -- F: waiting and time --------------------------------------------------------------------------


def test_f1_time_never_goes_back_within_a_run(app: App) -> None:
    @app.task(read_only=True)
    def step(n: int) -> int:
        return n

    @app.flow
    def many() -> Flow[Any]:
        return step.each(range(50))

    log = log_of(app, app.run(many()))
    times = [envelope.time_us for envelope in log]
    assert times == sorted(times)


def test_f2_a_poll_is_one_attempt_and_says_once_that_it_waits(app: App) -> None:
    calls: list[tuple[int, str]] = []

    @app.task
    def polls(ctx: TaskContext) -> int:
        calls.append((ctx.attempt, ctx.idempotency_key))
        if len(calls) < 20:
            raise NotReady("soon", retry_after=0.001)
        return len(calls)

    @app.flow
    def line() -> Flow[Any]:
        return linear(polls)

    # When a body is asked twenty times
    run = app.run(line())

    # Then that was one attempt under one key, and the log holds three lines of it
    assert len(set(calls)) == 1
    assert [line for line in story(log_of(app, run)) if line.startswith("Task")] == [
        "TaskStarted polls", "TaskWaiting polls", "TaskSucceeded polls",
    ]  # fmt: skip
    assert [e.polls for e in events(log_of(app, run), facts.TaskSucceeded)] == [20]


def test_f2_the_deadline_is_for_all_polls_together(app: App) -> None:
    @app.task(deadline=0.05)
    def never() -> None:
        raise NotReady(retry_after=0.01)

    @app.flow
    def line() -> Flow[Any]:
        return linear(never)

    run = app.run(line(), check=False)
    assert run.state == "REVERTED"
    assert [f.kind for f in run.failures] == ["deadline"]


# -- G: what a person may ask ---------------------------------------------------------------------


def test_g2_suspend_waits_for_running_bodies_not_for_waiting_ones(app: App) -> None:
    # Given a run in which one body runs and another waits for an hour
    started, finish = Event(), Event()

    @app.task
    def works() -> str:
        started.set()
        assert finish.wait(10)
        return "done"

    @app.task
    def waits() -> None:
        raise NotReady(retry_after=3600)

    @app.task
    def after() -> None: ...

    @app.flow
    def line() -> Flow[Any]:
        return unordered(linear(works, after, name="line"), waits)

    ended: list[Any] = []
    driving = Thread(target=lambda: ended.append(app.run(line(), check=False)))
    driving.start()
    assert started.wait(10)
    (run,) = app.runs()

    # When somebody asks for a pause
    run.suspend(reason="maintenance")
    finish.set()
    driving.join(10)

    # Then the running body was let finish, nothing after it started, and nobody waited for the hour
    assert [r.state for r in ended] == ["SUSPENDED"]
    log = log_of(app, run)
    assert "TaskSucceeded works" in story(log)
    assert "TaskStarted after" not in story(log)
    assert [e.reason for e in events(log, facts.RequestAccepted)] == ["maintenance"]


def test_g2_a_suspended_run_goes_on_where_it_was(app: App) -> None:
    started, finish = Event(), Event()
    calls: list[str] = []

    @app.task
    def first() -> None:
        calls.append("first")
        started.set()
        assert finish.wait(10)

    @app.task
    def second() -> None:
        calls.append("second")

    @app.flow
    def line() -> Flow[Any]:
        return linear(first, second)

    driving = Thread(target=lambda: app.run(line(), key="k", check=False))
    driving.start()
    assert started.wait(10)
    (run,) = app.runs()
    run.suspend(reason="a pause")
    finish.set()
    driving.join(10)
    assert run.state == "SUSPENDED"

    # When the same call is made again
    again = app.run(line(), key="k")

    # Then it is the same run, and nothing ran twice
    assert (again.id, again.state) == (run.id, "SUCCEEDED")
    assert calls == ["first", "second"]
    assert "RunResumed" in story(log_of(app, again))


def test_g5_a_revert_opens_a_final_run_and_undoes_what_stands(app: App) -> None:
    # Given a run that succeeded, and one that was stopped half-way
    done: list[str] = []

    @app.task
    def make(name: str) -> str:
        done.append(f"+{name}")
        if name == "bad":
            raise ValueError(name)
        return name

    @make.revert
    def unmake(name: str, result: str | None) -> None:
        done.append(f"-{name}")

    @app.flow
    def line(names: list[str]) -> Flow[Any]:
        return linear(*[make.bind(name).named(name) for name in names])

    for names, undone in ((["a", "b"], ["-b", "-a"]), (["c", "bad", "d"], ["-bad", "-c"])):
        run = app.run(line(names), on_failure="stop", executor="inline", check=False)
        done.clear()

        # When a person reverts it
        preview = run.revert(reason="not needed")

        # Then all that stood is undone, last first, as the preview said
        assert done == undone
        assert run.state == "REVERTED"
        assert [path.rpartition("/")[2] for path in preview.reverts] == [name[1:] for name in undone]

        # And there is nothing left to revert
        with pytest.raises(IllegalRequest):
            run.revert(reason="again")


def test_g5_a_revert_that_fails_ends_failed_and_may_be_asked_again(app: App) -> None:
    broken: list[str] = []

    @app.task
    def make() -> None: ...

    @make.revert
    def unmake() -> None:
        broken.append("tried")
        if len(broken) == 1:
            raise OSError("locked")

    @app.flow
    def line() -> Flow[Any]:
        return linear(make)

    # When the first revert fails, and a person asks again
    run = app.run(line())
    states: list[str] = []
    for reason in ("first", "second"):
        run.revert(reason=reason)
        states.append(run.state)

    # Then the second undoes what the first could not
    assert states == ["FAILED", "REVERTED"]
    assert len(broken) == 2


def test_g8_a_key_means_one_run_whatever_its_state(app: App) -> None:
    calls: list[int] = []

    @app.task
    def once(n: int) -> int:
        calls.append(n)
        if n < 0:
            raise ValueError(n)
        return n

    @app.flow
    def line(n: int) -> Flow[int]:
        last = once.bind(n)
        return linear(last, returns=last)

    # When the same key comes with the same inputs, of a run that succeeded and of one that did not
    good = [app.run(line(1), key="good") for _ in range(2)]
    bad = [app.run(line(-1), key="bad", check=False) for _ in range(2)]

    # Then it is the same run, and its bodies ran once
    assert (good[0].id, good[0].result) == (good[1].id, good[1].result)
    assert [bad[0].id, "REVERTED"] == [bad[1].id, bad[1].state]
    assert calls == [1, -1]

    # And with other inputs it is refused
    with pytest.raises(KeyConflict):
        app.run(line(2), key="good")
