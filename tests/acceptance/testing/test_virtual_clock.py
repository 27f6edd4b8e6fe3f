"""Virtual time (F1: tests replace this one port): waits take none, and everything happens at its own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from flowledger import App, Flow, NotReady, Run, Signal, TaskContext, Times, constant, linear, sleep, unordered
from flowledger.core import replay
from flowledger.events import facts
from flowledger.testing import VirtualClock
from flowledger.testing import in_background as started
from tests.acceptance.logs import events, log_of, story

START = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock(START)
    with clock.installed():
        yield clock


@pytest.fixture
def app(clock: VirtualClock) -> Iterator[App]:
    app = App("timeless", database_url="memory://")
    yield app
    app.close()


def waited(clock: VirtualClock) -> timedelta:
    return clock.now - START


def in_background(app: App, part: Any, **options: Any) -> Future[Run[Any]]:
    """A run that its caller waits for on another thread."""
    future: Future[Run[Any]] = Future()
    Thread(target=lambda: future.set_result(app.run(part, check=False, **options)), daemon=True).start()
    return future


def test_f1_a_week_passes_at_once_and_the_log_says_a_week(app: App, clock: VirtualClock) -> None:
    # Given a flow that sleeps a week
    @app.flow
    def patient() -> Flow[None]:
        return linear(sleep(timedelta(days=7)))

    # When it runs
    run = app.run(patient())

    # Then exactly that has passed, and the events say so
    log = log_of(app, run)
    assert waited(clock) == timedelta(days=7)
    assert log[0].at == START
    assert [e.at - START for e in log if isinstance(e.event, facts.TimerFired)] == [timedelta(days=7)]
    replay.check_complete(app.plan(patient()), replay.check(app.plan(patient()), log))


def test_f2_polls_backoffs_and_deadlines_are_in_the_same_time(app: App, clock: VirtualClock) -> None:
    # Given polls every hour, an hour's back-off, and a deadline two days away
    polls: list[datetime] = []

    @app.task(read_only=True)
    def poll() -> None:
        polls.append(clock.now)
        if len(polls) < 30:
            raise NotReady(retry_after=3600)

    @app.task(attempts=3, backoff=constant(3600))
    def flaky(ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    @app.task(read_only=True, deadline=2 * DAY_S)
    def never() -> None:
        raise NotReady(retry_after=5 * 3600)

    @app.flow
    def slow() -> Flow[None]:
        return linear(poll, flaky, never, retry=Times(1))

    # When it runs
    run = app.run(slow(), check=False)

    # Then each wait took what it says
    assert [at - START for at in polls] == [timedelta(hours=n) for n in range(30)]
    assert (run.state, run.failures[0].kind) == ("REVERTED", "deadline")
    assert waited(clock) == timedelta(hours=29 + 2, days=2)
    waits = list(events(log_of(app, run), facts.TaskWaiting, "poll"))
    assert [wait.polls for wait in waits] == list(range(1, 30)), "each is more than a minute after the one before"


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_c7_a_hanging_async_body_meets_its_timeout(app: App, clock: VirtualClock, executor: Any) -> None:
    @app.task(timeout=60)
    async def hang() -> None:
        await asyncio.sleep(10 * DAY_S)

    run = app.run(hang.bind(), executor=executor, check=False)

    assert (run.state, run.failures[0].kind) == ("REVERTED", "timeout")
    assert waited(clock) == timedelta(seconds=60)


def test_the_sleep_of_an_async_body_is_virtual_too(app: App, clock: VirtualClock) -> None:
    @app.task
    async def nap(hours: int) -> float:
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(hours * 3600)
        return asyncio.get_running_loop().time() - before

    @app.flow
    def naps() -> Flow[list[float]]:
        return unordered(*[nap.bind(hours).named(f"nap-{hours}") for hours in (3, 1, 2)])

    assert app.run(naps()).result == [3 * 3600, 3600, 2 * 3600]
    assert waited(clock) == timedelta(hours=3)


def test_time_stands_still_while_a_body_runs_in_a_thread(app: App, clock: VirtualClock) -> None:
    # Given a body in a thread that takes a while, and a sleep beside it
    def shown() -> datetime:
        time.sleep(0.05)
        return clock.now

    @app.task(timeout=5)
    def work() -> datetime:
        return shown()

    @app.flow
    def both() -> Flow[list[Any]]:
        return unordered(sleep(3600), work)

    # Then its timeout is not over, nor the sleep, before it has ended
    assert app.run(both()).results["both/work"] == START


def test_a_time_limit_that_was_kept_is_not_waited_for(app: App, clock: VirtualClock) -> None:
    @app.task(timeout=3600, deadline=7200)
    def quick() -> None: ...

    app.run(quick.bind())
    app.run(napping(app)(1))

    assert waited(clock) == timedelta(days=1)


def test_held_time_passes_step_by_step(app: App, clock: VirtualClock) -> None:
    # Given time that is held, and a run with a sleep of an hour and one of a day
    @app.flow
    def two() -> Flow[None]:
        return linear(sleep(3600).named("hour"), sleep(DAY_S).named("day"))

    with clock.held():
        running = in_background(app, two(), key="k")

        # When less than an hour passes, then more than that
        clock.advance(1)
        while not list(app.runs()):
            clock.advance(0)
        run = next(app.runs())
        clock.advance(timedelta(minutes=59))
        before = story(log_of(app, run))
        clock.advance(timedelta(minutes=30))

        # Then the first sleep is over, at its own time, and the second one has begun
        log = log_of(app, run)
        assert "TimerFired hour" not in before
        assert story(log)[-1] == "TaskWaiting day"
        fired = next(e for e in log if isinstance(e.event, facts.TimerFired))
        assert fired.at - log[0].at == timedelta(hours=1)
        assert not running.done()

    # And when it is held no more, the rest passes by itself
    assert running.result(20).state == "SUCCEEDED"


def test_c7_advancing_takes_a_body_that_hangs_in_a_thread_to_its_timeout(app: App, clock: VirtualClock) -> None:
    # Given a body in a thread that goes on until it is told to stop
    began = Event()

    @app.task(timeout=60)
    def hang(ctx: TaskContext) -> None:
        began.set()
        while not ctx.cancelled:
            time.sleep(0.001)
        raise RuntimeError("told to stop")

    running = in_background(app, hang.bind())
    assert began.wait(20)
    # When a minute passes
    clock.advance(59)
    assert not running.done()
    clock.advance(1)
    # Then its time is up
    assert running.result(20).failures[0].kind == "timeout"


def napping(app: App) -> Any:
    """A flow that sleeps so many days, one after the other."""

    @app.flow
    def naps(days: int) -> Flow[None]:
        return linear(*[sleep(DAY_S) for _ in range(days)])

    return naps


def test_several_apps_share_one_time(clock: VirtualClock) -> None:
    # Given two apps, each with an engine of its own
    apps = [App(name, database_url="memory://") for name in ("two", "five")]
    days = [2, 5]

    # When both sleep day by day at the same time
    with clock.held():
        both = [in_background(app, napping(app)(n)) for app, n in zip(apps, days, strict=True)]
        while not all(list(app.runs()) for app in apps):
            clock.advance(0)
        clock.advance(timedelta(days=5))
        runs = [running.result(20) for running in both]

    # Then no day passed for one but not for the other
    ends = [log_of(app, run)[-1].at - START for app, run in zip(apps, runs, strict=True)]
    assert ends == [timedelta(days=n) for n in days]
    for app in apps:
        app.close()


def test_on_a_file_time_waits_for_the_commit(clock: VirtualClock, tmp_path: Path) -> None:
    app = App("timeless", database_url=f"sqlite:///{tmp_path}/log.db")

    run = app.run(napping(app)(20))

    assert run.state == "SUCCEEDED"
    assert waited(clock) == timedelta(days=20)
    app.close()


def test_f4_a_wait_for_a_signal_ends_with_the_signal_or_a_week_later(app: App, clock: VirtualClock) -> None:
    # Given an offer that stands for a week, and time that is held
    answer = Signal("answer", str)

    @app.flow
    def offer() -> Flow[str]:
        wait = answer.wait(timeout=timedelta(days=7)).named("answer")
        return linear(wait, returns=wait)

    with clock.held():
        # When it is answered on the sixth day
        running = started(app, offer())
        waiting = running.wait_for("TaskWaiting", "answer")
        clock.advance(timedelta(days=6))
        app.get(waiting.run_id).send(answer, "yes")

        # Then that is the result
        assert running.join().result == "yes"

        # And one that nobody answers is over after a week
        running = started(app, offer())
        began = running.wait_for("TaskWaiting", "answer").at
        clock.advance(timedelta(days=7))
        run = running.join()
    assert (run.state, run.failures[0].kind) == ("REVERTED", "timeout")
    assert running.wait_for("TimerFired").at - began == timedelta(days=7)


def test_time_never_goes_back(clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)
    assert clock.advance(0.5) == START + timedelta(seconds=0.5)


def test_when_nobody_keeps_time_it_is_the_stores() -> None:
    app = App("plain", database_url="memory://")
    run = app.run(napping(app)(0))
    assert abs(log_of(app, run)[0].at - datetime.now(UTC)) < timedelta(minutes=1)
    app.close()
