"""Tasks that workers make, as the engine sees it (rules C1 to C5): asked, watched, settled, taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, NotReady, Run, Settings, linear, unordered
from flowledger.adapters.executors.remote import RemoteExecutor
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.keys import Key
from flowledger.adapters.sources import read
from flowledger.core.compiler import rebuild
from flowledger.core.parts import Part
from flowledger.core.portable import Reply
from flowledger.events import facts
from flowledger.events.claims import AttemptKey, Report, Sign
from flowledger.events.errors import DefinitionError, InputError
from flowledger.events.facts import Event
from tests.postgres_server import wait_until

from .hand_worker import HandWorker

pytest_plugins = ["tests.brokers"]

Opened = Callable[[], App]
Driven = Callable[[App, Any], Future[Run[Any]]]


def flows(app: App) -> None:
    @app.task
    def near() -> int:
        return 1

    @app.task(queue="builds", attempts=2)
    def build(near: int) -> int:
        raise AssertionError

    @build.revert
    def _(result: int | None) -> None:
        raise AssertionError

    @app.task
    def last(build: int) -> int:
        return build + 1

    @app.task
    def breaks() -> None:
        raise RuntimeError("no")

    @app.task(queue="builds")
    def poll() -> int:
        raise NotReady("not yet", retry_after=0.01)

    @app.flow
    def mixed() -> Flow[int]:
        return linear(near.as_("near"), build.as_("build"), last, returns=last)

    @app.flow
    def undone() -> Flow[None]:
        return linear(near.as_("near"), build.as_("build"), breaks)

    @app.flow
    def beside() -> Flow[list[Any]]:
        return unordered(build.bind(1), breaks)

    @app.flow
    def polls() -> Flow[int]:
        return linear(poll, returns=poll)


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
def opened(url: str, memory_broker_url: str, message_key: Key) -> Iterator[Opened]:
    """Make a process's app on the same log and broker."""
    apps: list[App] = []

    def make() -> App:
        app = App("shop", settings=Settings(
            database_url=url, broker_url=memory_broker_url, signing_keys=message_key.line, views="off"
        ))  # fmt: skip
        flows(app)
        executor = app.runtime.services.lanes["workers"].executor
        assert isinstance(executor, RemoteExecutor)
        executor.watch_s, executor.resend_s = 0.05, 0.3
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(opened: Opened) -> App:
    return opened()


@pytest.fixture
def worker(app: App, memory_broker_url: str, message_key: Key) -> Iterator[HandWorker]:
    with HandWorker(app, app.runtime.store, memory_broker_url, message_key, ["builds"]) as made:
        yield made


@pytest.fixture
def drive() -> Iterator[Driven]:
    """Run a flow in a thread of its own."""
    pool = ThreadPoolExecutor(4)
    yield lambda app, part: pool.submit(app.run, part, check=False)
    pool.shutdown(wait=False)  # what still runs ends with its app


def part(app: App, flow: str) -> Part[Any]:
    return rebuild(app, flow, b"{}")


def events(app: App, run_id: str, *kinds: type[Event]) -> list[Event]:
    return [e.event for e in read(app.runtime.store, run_id) if not kinds or isinstance(e.event, kinds)]


def test_c1_a_task_with_a_queue_is_made_by_a_worker_between_others(app: App, worker: HandWorker, drive: Driven) -> None:
    # When
    future = drive(app, part(app, "mixed"))
    request = worker.take()
    worker.returns(request, 41)
    run = future.result(30)
    # Then
    assert run.result == 42
    queues = [e.queue for e in events(app, run.id, facts.TaskStarted) if isinstance(e, facts.TaskStarted)]
    assert queues == ["", "builds", ""]
    # And the outcome was taken out of the inbox by what it led to
    assert app.runtime.store.inbox(run.id).rows == []


def test_c1_a_failure_is_tried_again_and_the_second_message_of_an_attempt_is_refused(
    app: App, worker: HandWorker, drive: Driven
) -> None:
    # When
    future = drive(app, part(app, "mixed"))
    first = worker.take()
    worker.fails(first, "broken")
    second = worker.take()
    worker.returns(second, 1)
    run = future.result(30)
    # Then
    assert run.result == 2
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.key != second.key  # an outcome is known (C5)
    assert not worker.claim(second)
    # And the log says who made what
    made = [getattr(e, "worker", None) for e in events(app, run.id, facts.TaskFailed, facts.TaskSucceeded)]
    assert made == ["", worker.row.id, worker.row.id, ""]


def test_d4_reverts_are_made_by_workers_too(app: App, worker: HandWorker, drive: Driven) -> None:
    # When
    future = drive(app, part(app, "undone"))
    worker.returns(worker.take(), 7)
    request = worker.take()
    worker.returns(request, None)
    run = future.result(30)
    # Then
    assert (request.phase, run.state) == ("revert", "REVERTED")
    assert [e.queue for e in events(app, run.id, facts.RevertStarted) if isinstance(e, facts.RevertStarted)] == [
        "builds"
    ]
    made = [e.worker for e in events(app, run.id, facts.TaskReverted) if isinstance(e, facts.TaskReverted)]
    assert made == ["", worker.row.id, ""]


def test_f2_a_poll_is_the_same_attempt_asked_for_again(app: App, worker: HandWorker, drive: Driven) -> None:
    # When
    future = drive(app, part(app, "polls"))
    calls = [worker.take() for _ in range(1)]
    for _ in range(2):
        worker.tell(calls[-1], Reply(kind="unready", retry_after_s=0.01, message="soon"))
        calls.append(worker.take())
    worker.returns(calls[-1], 5)
    run = future.result(30)
    # Then
    assert run.result == 5
    assert [call.attempt for call in calls] == [1, 1, 1]
    assert [call.call for call in calls] == sorted({call.call for call in calls})
    (done,) = events(app, run.id, facts.TaskSucceeded)
    assert isinstance(done, facts.TaskSucceeded)
    assert done.polls == 3


def test_c1_who_has_no_claim_is_asked_for_again_without_an_interruption(
    app: App, worker: HandWorker, drive: Driven
) -> None:
    # Given a message that is lost
    future = drive(app, part(app, "mixed"))
    lost = worker.take(claim=False)
    # When
    again = worker.take()
    worker.returns(again, 1)
    run = future.result(30)
    # Then
    assert lost == again
    assert events(app, run.id, facts.TaskInterrupted) == []


def test_c3_a_worker_that_is_gone_is_an_interruption_and_c4_what_it_still_says_counts_first(
    app: App, worker: HandWorker, drive: Driven, memory_broker_url: str, message_key: Key
) -> None:
    # Given
    future = drive(app, part(app, "mixed"))
    first = worker.take()
    # When it is taken for dead, and another asked
    worker.dies()
    with HandWorker(app, app.runtime.store, memory_broker_url, message_key, ["builds"]) as other:
        second = other.take()
        assert (second.attempt, second.key) == (2, first.key)  # nobody knows what came of the first (C5)
        # Then the outcome of the first, which comes after all, is the one
        worker.returns(first, 10)
        run = future.result(30)
        other.returns(second, 20)
    assert run.result == 11
    (interrupted,) = events(app, run.id, facts.TaskInterrupted)
    assert isinstance(interrupted, facts.TaskInterrupted)
    assert worker.row.id in interrupted.cause
    succeeded = [e for e in events(app, run.id, facts.TaskSucceeded) if isinstance(e, facts.TaskSucceeded)]
    assert [e.attempt for e in succeeded] == [1, 1, 1]
    # And the other's is of no use to anybody: it stays in the inbox of a run that is over
    assert [row.actor for row in app.runtime.store.inbox(run.id).rows] == [other.row.id]


def test_c3_a_change_of_owner_leaves_what_workers_make_alone(
    opened: Opened, app: App, worker: HandWorker, drive: Driven, memory_broker_url: str, message_key: Key
) -> None:
    # Given a run whose process goes while a worker makes a part of it
    future = drive(app, part(app, "mixed"))
    request = worker.take()
    app.close()
    with pytest.raises(Exception, match="closed"):
        future.result(30)
    # When the worker ends while nobody drives the run
    heir = opened()
    with HandWorker(heir, heir.runtime.store, memory_broker_url, message_key, ["builds"]) as same:
        same.row = worker.row
        same.returns(request, 41)
    run = heir.resume_run(request.run)
    # Then its outcome is used, and nothing was interrupted
    assert run.result == 42
    assert events(heir, run.id, facts.TaskInterrupted) == []


def test_c7_a_worker_hears_that_its_attempt_is_not_wanted(app: App, worker: HandWorker, drive: Driven) -> None:
    # Given a part that fails beside one that a worker makes
    future = drive(app, part(app, "beside"))
    request = worker.take()
    key = AttemptKey(request.run, request.path, 1, 1)
    # When / Then
    claims = app.runtime.store.claims
    wait_until(lambda: claims.beat(worker.row, [Sign(key)]) == [key], "nobody says so")
    worker.fails(request, "stopped")
    worker.returns(worker.take(), None)  # its revert
    assert future.result(30).state == "REVERTED"


def test_c4_what_cannot_be_an_outcome_is_left_out(app: App, worker: HandWorker, drive: Driven) -> None:
    # Given
    future = drive(app, part(app, "mixed"))
    request = worker.take()
    # When somebody tells nonsense first
    claims = app.runtime.store.claims
    claims.report("x", [Report(AttemptKey(request.run, "no/such", 1, 1), 0, b"nonsense")])
    claims.report("x", [Report(AttemptKey(request.run, request.path, 1, 9), 0, b'{"path":"no/such","try":1}')])
    worker.returns(request, 1)
    # Then
    assert future.result(30).result == 2


# -- without a broker ---------------------------------------------------------------------------


def test_a_task_with_a_queue_is_made_here_where_there_is_no_broker() -> None:
    # Given
    app = App("shop", settings=Settings(database_url="memory://"))

    @app.task(queue="builds")
    def build() -> int:
        return 5

    # When / Then
    assert app.run(build).result == 5
    with pytest.raises(InputError, match="no broker is set"):
        app.run(build, executor="workers")
    app.close()


def test_a_broker_without_keys_is_refused_before_anything_is_opened() -> None:
    app = App("shop", settings=Settings(database_url="memory://", broker_url="memory://"))

    @app.task(queue="builds")
    def build() -> int:
        return 5

    with pytest.raises(InputError, match="no key to sign messages with"):
        app.run(build)


def test_whoever_runs_a_flow_may_want_it_here(opened: Opened) -> None:
    app = opened()
    with pytest.raises(DefinitionError):
        app.run(part(app, "mixed"), executor="somewhere")
    plan = app.plan(part(app, "mixed"), executor="threads")
    assert {node.lane for node in plan.nodes if node.task} == {"threads"}
    assert {node.lane for node in app.plan(part(app, "mixed"), executor="workers").nodes if node.task} == {"workers"}
