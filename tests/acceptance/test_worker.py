"""A worker in the process of its engine makes what it is asked for, whatever body that has (rules B4, B6, C1 to C7)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger import (
    App,
    Flow,
    NotReady,
    Permanent,
    Run,
    Settings,
    TaskContext,
    linear,
    unordered,
)
from flowledger.adapters.executors.remote import RemoteExecutor
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.keys import Key, new_key
from flowledger.adapters.sources import read
from flowledger.events import facts
from flowledger.events.errors import InputError
from tests.postgres_server import wait_until

pytest_plugins = ["tests.brokers"]

NewApp = Callable[..., App]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return f"memory://{new_ulid()}"
        case "sqlite":
            return f"sqlite:///{tmp_path}/log.db"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def new_app(url: str, memory_broker_url: str, message_key: Key) -> Iterator[NewApp]:
    """Make an app whose engine asks workers and does not wait long before it asks again."""
    apps: list[App] = []

    def make(**settings: Any) -> App:
        app = App("shop", settings=Settings(
            database_url=url, broker_url=memory_broker_url, signing_keys=message_key.line, views="off", **settings
        ))  # fmt: skip
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(new_app: NewApp) -> App:
    return new_app()


def hurried(app: App) -> None:
    """Have its engine look at claims often."""
    executor = app.runtime.services.lanes["workers"].executor
    assert isinstance(executor, RemoteExecutor)
    executor.watch_s, executor.resend_s = 0.05, 0.5


def test_c1_a_flow_mixes_what_is_made_here_and_by_workers(app: App) -> None:
    # Given
    here = get_ident()
    threads: list[int] = []

    @app.task
    def near() -> int:
        return 1

    @app.task(queue="builds", provides="built")
    def build(ctx: TaskContext, near: int) -> int:
        threads.append(get_ident())
        return near + ctx.attempt

    @app.task(queue="tests")
    async def check(built: int) -> int:
        await asyncio.sleep(0)
        return built * 10

    @app.flow
    def both() -> Flow[int]:
        return linear(near.as_("near"), build, check, returns=check)

    # When
    with app.worker() as worker:
        run = app.run(both())
    # Then
    assert run.result == 20
    assert worker.queues == ["builds", "near", "tests"]
    assert here not in threads
    assert app.runtime.store.claims.workers() == []


def test_executor_workers_sends_all_of_a_run_there(app: App) -> None:
    # Given
    @app.task
    def one() -> int:
        return 1

    @app.task
    def two(n: int) -> int:
        return n + 1

    @app.flow
    def both() -> Flow[int]:
        last = two.bind(one)
        return linear(one, last, returns=last)

    # When
    with app.worker():
        run = app.run(both(), executor="workers")
    # Then
    assert run.result == 2
    started = [e.event for e in read(app.runtime.store, run.id) if isinstance(e.event, facts.TaskStarted)]
    assert [e.queue for e in started] == ["one", "two"]


def test_d1_tf_w6_tf_w8_failures_retries_and_reverts_are_as_they_are_here(app: App) -> None:
    # Given
    undone: list[int | None] = []

    @app.task(queue="q", attempts=3)
    def flaky(ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise RuntimeError(f"attempt {ctx.attempt}")
        return 5

    @flaky.revert
    def _(result: int | None) -> None:
        undone.append(result)

    @app.task(queue="q", attempts=3)
    def never() -> None:
        raise Permanent("no")

    @app.flow
    def fails() -> Flow[None]:
        return linear(flaky, never)

    # When
    with app.worker():
        run = app.run(fails(), check=False)
    # Then
    assert run.state == "REVERTED"
    assert undone == [5]
    failed = [e.event for e in read(app.runtime.store, run.id) if isinstance(e.event, facts.TaskFailed)]
    assert [(e.attempt, e.failure.message, e.again) for e in failed] == [
        (1, "attempt 1", True), (2, "attempt 2", True), (1, "no", False),
    ]  # fmt: skip


def test_f2_tf_w6_polls_and_progress_are_heard_here(app: App) -> None:
    # Given
    calls: list[int] = []

    @app.task(queue="q")
    def poll(ctx: TaskContext) -> int:
        calls.append(ctx.attempt)
        if len(calls) < 3:
            raise NotReady("not yet", retry_after=0.01)
        ctx.progress(0.5, "half")
        return 1

    # When
    with app.worker():
        run = app.run(poll)
    # Then
    assert (run.result, calls) == (1, [1, 1, 1])
    (done,) = [e.event for e in read(app.runtime.store, run.id) if isinstance(e.event, facts.TaskSucceeded)]
    assert done.progress == facts.Progress(fraction=0.5, message="half")
    assert done.polls == 3


def test_resources_are_made_in_the_worker_and_arguments_that_do_not_fit_are_failures(app: App) -> None:
    # Given
    made: list[str] = []

    @app.resource
    def cloud() -> Iterator[str]:
        made.append("open")
        yield "cloud"
        made.append("closed")

    @app.task(queue="q")
    def uses(cloud: str) -> str:
        return cloud

    # When
    with app.worker():
        assert app.run(uses).result == "cloud"
        assert app.run(uses).result == "cloud"
        assert made == ["open"]
    # Then
    assert made == ["open", "closed"]


def test_c7_a_time_out_is_kept_by_the_worker(app: App) -> None:
    # Given
    @app.task(queue="q", timeout=0.1)
    async def slow() -> None:
        await asyncio.sleep(60)

    # When
    with app.worker():
        run = app.run(slow, check=False)
    # Then
    assert run.failures[0].kind == "timeout"


def test_c7_a_thread_sees_that_nobody_wants_it_any_more(app: App) -> None:
    # Given
    seen, begun = Event(), Event()

    @app.task(queue="q")
    def long(ctx: TaskContext) -> None:
        begun.set()
        wait_until(lambda: ctx.cancelled, "nobody says so")
        seen.set()

    @app.task
    def breaks() -> None:
        begun.wait(20)
        raise RuntimeError("no")

    @app.flow
    def both() -> Flow[list[Any]]:
        return unordered(long, breaks)

    hurried(app)
    # When
    with app.worker():
        run = app.run(both(), check=False)
    # Then
    assert seen.is_set()
    assert run.state == "REVERTED"


def test_s10_what_is_secret_is_neither_on_the_broker_nor_in_the_inbox_in_clear(new_app: NewApp, url: str) -> None:
    # Given
    app = new_app(codec_keys=new_key("k1", "aes").line)
    wrote: list[bytes] = []

    @app.task(queue="q")
    def login(password: SecretStr) -> SecretStr:
        return SecretStr(password.get_secret_value() + "!")

    @app.task
    def uses(token: SecretStr) -> int:
        return len(token.get_secret_value())

    @app.flow
    def session(password: SecretStr) -> Flow[int]:
        token = login.bind(password)
        last = uses.bind(token)
        return linear(token, last, returns=last)

    store = app.runtime.store
    report = store.claims.report

    def watched(worker: str, reports: Any) -> None:
        wrote.extend(each.content for each in reports)
        report(worker, reports)

    store.claims.report = watched  # type: ignore[method-assign]
    # When
    with app.worker():
        run = app.run(session(SecretStr("correct-horse")))
    # Then
    assert run.result == len("correct-horse!")
    assert b"correct-horse" not in b"".join(wrote)


def test_c1_a_large_request_goes_by_reference(app: App) -> None:
    # Given
    @app.task
    def makes() -> str:
        return "x" * 400_000

    @app.task(queue="q")
    def measures(text: str) -> int:
        return len(text)

    @app.flow
    def both() -> Flow[int]:
        last = measures.bind(makes)
        return linear(makes, last, returns=last)

    # When / Then
    with app.worker():
        assert app.run(both()).result == 400_000


def test_many_at_once_on_two_workers_are_each_made_once(app: App) -> None:
    # Given
    made: list[int] = []

    @app.task(queue="q")
    def one(n: int) -> int:
        made.append(n)
        return n

    @app.flow
    def fan(n: int) -> Flow[list[int]]:
        return unordered(*[one.bind(i).named(f"t{i}") for i in range(n)])

    # When
    with app.worker(), app.worker():
        run = app.run(fan(200))
    # Then
    assert run.result == list(range(200))
    assert sorted(made) == list(range(200))


def test_a_worker_that_drains_finishes_what_it_is_at_and_takes_nothing_more(app: App) -> None:
    # Given
    begun, go = Event(), Event()

    @app.task(queue="q")
    def held(n: int) -> int:
        begun.set()
        go.wait(20)
        return n

    @app.flow
    def two() -> Flow[list[int]]:
        return unordered(held.bind(1).named("a"), held.bind(2).named("b"))

    hurried(app)
    first = app.working(concurrency=1)
    first.start()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(app.run, two())
        assert begun.wait(20)
        # When
        first.drain()
        assert not first.join(0.1)
        assert not first.ready().good
        go.set()
        wait_until(lambda: first.join(0.1), "it does not end")
        # Then the other is made by the next
        with app.worker():
            run: Run[Any] = future.result(30)
    assert run.result == [1, 2]
    assert [e for e in read(app.runtime.store, run.id) if isinstance(e.event, facts.TaskInterrupted)] == []


def test_a_worker_needs_a_broker_a_key_and_something_to_do(message_key: Key) -> None:
    # Given
    url = "memory://"
    empty = App("shop", settings=Settings(database_url=url, broker_url=url, signing_keys=message_key.line))
    without = App("shop", settings=Settings(database_url=url))
    # When / Then
    with pytest.raises(InputError, match="none is set"):
        without.working()
    with pytest.raises(InputError, match="has no task"):
        empty.working()
    with pytest.raises(InputError, match="no key to sign"):
        App("shop", settings=Settings(database_url=url, broker_url=url)).working()
    assert os.getpid()
