"""Starts ahead of their threads (rule C1): which bodies may stand in line, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest

from flowledger import App, Flow, NotReady, Settings, linear, unordered
from flowledger.core.engine import starting
from flowledger.core.state import State
from flowledger.events.errors import Fenced

LONG_S = 30


@pytest.fixture
def app() -> Iterator[App]:
    """One thread; its bodies have been short so far."""
    app = App("ahead", settings=Settings(database_url="memory://", threads=1))

    @app.task
    def short() -> None:
        pass

    @app.flow
    def warm_up() -> Flow[Any]:
        return unordered(*[short.bind() for _ in range(200)])

    app.run(warm_up())
    yield app
    app.close()


def wait_until(condition: Callable[[], bool]) -> None:
    until = monotonic() + LONG_S
    while not condition():
        assert monotonic() < until
        sleep(0.001)


def started(app: App) -> int:
    """How many starts the newest run has in its log, once the loop has done what it had to do."""
    for _ in range(5):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), app.runtime.loop).result(LONG_S)
    store = app.runtime.store
    events = store.read(store.streams(limit=1)[0].run_id)
    return sum(event.type == "TaskStarted" for event in events)


def starts_beside_a_blocker(app: App, options: dict[str, Any]) -> int:
    """How many of twenty bodies have been started while one more holds the only thread."""
    begun, released = Event(), Event()

    @app.task
    def blocker() -> None:
        begun.set()
        assert released.wait(LONG_S)

    @app.task(**options)
    def beside() -> None:
        pass

    @app.flow
    def both() -> Flow[Any]:
        return unordered(blocker.bind(), *[beside.bind() for _ in range(20)])

    with ThreadPoolExecutor(1) as beside_us:
        running = beside_us.submit(app.run, both())
        assert begun.wait(LONG_S)
        found = started(app) - 1
        released.set()
        assert running.result(LONG_S).state == "SUCCEEDED"
    return found


def test_c1_short_bodies_are_started_while_their_thread_is_taken(app: App) -> None:
    assert starts_beside_a_blocker(app, {}) == 20


@pytest.mark.parametrize("options", [{"timeout": 60}, {"deadline": 60}, {"on_interrupt": "fail"}])
def test_c1_what_must_not_stand_in_line_is_started_with_its_thread_in_hand(app: App, options: dict[str, Any]) -> None:
    assert starts_beside_a_blocker(app, options) == 0


def test_c1_while_one_waits_for_a_thread_in_hand_nobody_else_starts_ahead(app: App) -> None:
    # Given a body that holds the only thread, and one that must have it in hand
    begun, released = Event(), Event()

    @app.task
    def blocker() -> None:
        begun.set()
        assert released.wait(LONG_S)

    @app.task(timeout=60)
    def careful() -> None:
        pass

    @app.task
    def beside() -> None:
        pass

    @app.flow
    def first() -> Flow[Any]:
        return unordered(blocker, careful)

    @app.flow
    def second() -> Flow[Any]:
        return unordered(*[beside.bind() for _ in range(20)])

    # When another run comes
    with ThreadPoolExecutor(2) as beside_us:
        running = [beside_us.submit(app.run, first())]
        assert begun.wait(LONG_S)
        assert started(app) == 1
        running.append(beside_us.submit(app.run, second()))
        wait_until(lambda: len(app.runtime.drivers) == 2)
        # Then it stands in line
        assert started(app) == 0
        released.set()
        assert [run.result(LONG_S).state for run in running] == ["SUCCEEDED", "SUCCEEDED"]


def test_c1_nothing_is_started_ahead_where_bodies_are_long(app: App) -> None:
    # Given
    app.runtime.services.lanes["threads"].slots.give(took_s=60.0)
    app.runtime.services.lanes["threads"].slots.take(in_hand=True)
    # Then
    assert starts_beside_a_blocker(app, {}) == 0


def test_c6_nobody_is_blamed_twice_for_standing_in_line(app: App) -> None:
    # Given an atom whose process was lost once
    @app.task
    def short_too() -> None:
        pass

    @app.flow
    def line() -> Flow[Any]:
        return linear(short_too)

    plan = app.plan(line())
    state, node = State(plan), plan.nodes[plan.by_path["line/short_too"]]
    run: Any = SimpleNamespace(state=state)
    assert node.task is not None
    assert starting.may_stand_in_line(run, node, node.task)
    # When
    state.interruptions[node.number] = 1
    # Then
    assert not starting.may_stand_in_line(run, node, node.task)


def test_f2_a_poll_that_is_due_waits_for_a_thread_and_gets_it(app: App) -> None:
    # Given a poll that comes back while another run's body holds the only thread
    begun, released, polled = Event(), Event(), Event()
    polls: list[int] = []

    @app.task
    def blocker() -> None:
        begun.set()
        assert released.wait(LONG_S)

    @app.task
    def poll() -> None:
        polls.append(len(polls))
        polled.set()
        if len(polls) == 1:
            raise NotReady(retry_after=0.05)

    @app.flow
    def blocks() -> Flow[Any]:
        return linear(blocker)

    @app.flow
    def waits() -> Flow[Any]:
        return linear(poll)

    with ThreadPoolExecutor(2) as beside_us:
        waiting = beside_us.submit(app.run, waits())
        assert polled.wait(LONG_S)
        blocking = beside_us.submit(app.run, blocks())
        assert begun.wait(LONG_S)
        loop, due = app.runtime.loop, Event()
        loop.call_soon_threadsafe(loop.call_later, 0.1, due.set)
        assert due.wait(LONG_S)
        # When the thread is free
        released.set()
        # Then the poll goes on
        assert blocking.result(LONG_S).state == waiting.result(LONG_S).state == "SUCCEEDED"
    assert polls == [0, 1]


def test_b2_what_stood_in_line_when_its_run_was_lost_does_not_begin(app: App) -> None:
    # Given bodies in line behind one that runs
    begun, released, ran = Event(), Event(), list[int]()

    @app.task
    def blocker() -> None:
        begun.set()
        assert released.wait(LONG_S)

    @app.task
    def beside(number: int) -> None:
        ran.append(number)

    @app.flow
    def both() -> Flow[Any]:
        return unordered(blocker.bind(), *[beside.bind(number) for number in range(20)])

    @app.flow
    def after() -> Flow[Any]:
        return linear(beside.bind(100))

    with ThreadPoolExecutor(1) as beside_us:
        running = beside_us.submit(app.run, both())
        assert begun.wait(LONG_S)
        assert started(app) == 21
        # When the run is lost to this process
        (driver,) = app.runtime.drivers.values()
        app.runtime.loop.call_soon_threadsafe(driver.lose, Fenced("another owner drives it"))
        with pytest.raises(Fenced):
            running.result(LONG_S)
        released.set()
    # Then none of them runs, and the thread goes on with other runs
    app.run(after())
    assert ran == [100]
