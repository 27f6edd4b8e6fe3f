"""C8: a transactional task's writes and its outcome are both there or neither, wherever its process dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, text

from flowledger import App, DefinitionError, Flow, NotReady, NotSupported, Run, TaskContext, linear, unordered
from flowledger.adapters import failpoint, loading
from flowledger.adapters.failpoint import EXIT_CODE, TRANSACTION_POINTS
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.transactions import OutcomeKey
from tests.acceptance import booking
from tests.acceptance.booking import Tables
from tests.acceptance.logs import log_of
from tests.postgres import sql

ROOT = Path(__file__).parents[2]

#: Where one attempt can be interrupted, and whether its transaction has been committed by then.
POINTS = [(point, point == "transaction.after_commit") for point in TRANSACTION_POINTS if "settle" not in point]
#: Around the engine's own appends: TaskStarted of book is in the 2nd, its TaskSucceeded in the 3rd. (An inline body has
#: run when the append that starts it has been acknowledged to the last listener.)
AROUND = [
    ("append.before_begin:2", False), ("append.after_ack:2", True), ("append.before_begin:3", True),
    ("append.before_commit:3", True), ("append.after_commit:3", True), ("append.after_ack:3", True),
]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def tables(url: str) -> Iterator[Tables]:
    made = Tables(url)
    yield made
    made.drop()


def die(url: str, flow: str, executor: str, point: str) -> None:
    """Run it, in a process of its own that is killed there."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.booking", flow, executor], cwd=ROOT, capture_output=True, check=False,
        timeout=100, env={**os.environ, "FLOWLEDGER_DATABASE_URL": url, "FLOWLEDGER_FAILPOINT": point},
    )  # fmt: skip
    assert done.returncode == EXIT_CODE, done.stderr.decode()


def going_on(url: str, flow: str, executor: str) -> tuple[Run[Any], list[Any]]:
    """The same call again, here; and the log, replayed."""
    booking.app.close()
    booking.app.use(database_url=url)
    run = booking.go(flow, executor)
    store = booking.app.runtime.store
    log = loading.read(store, run.id)
    plan = booking.app.plan(booking.FLOWS[flow]("4a"), executor="inline" if executor == "inline" else "threads")
    check_complete(plan, check(plan, log))
    return run, [envelope.event for envelope in log if envelope.path.endswith("/book")]


@pytest.mark.crash
@pytest.mark.parametrize("executor", ["threads", "inline"])
@pytest.mark.parametrize(("point", "committed"), POINTS)
def test_c8_killed_at_any_point_of_the_transaction_it_is_booked_exactly_once(
    url: str, tables: Tables, point: str, committed: bool, executor: str
) -> None:
    # Given a process that was killed within the transaction
    die(url, "trip", executor, point)
    assert tables.rows() == (["4a"] if committed else [])
    # When the same call is made again
    run, events = going_on(url, "trip", executor)
    # Then it is booked once, and the log says so; a committed attempt is not said to be interrupted
    assert (run.result, tables.rows()) == ("thanks, ticket for 4a", ["4a"])
    assert [type(event).__name__ for event in events] == (
        ["TaskStarted", "TaskSucceeded"]
        if committed
        else ["TaskStarted", "TaskInterrupted", "TaskStarted", "TaskSucceeded"]
    )
    booking.app.close()


@pytest.mark.crash
@pytest.mark.parametrize(("point", "committed"), AROUND)
def test_c8_killed_around_the_engines_events_it_is_booked_exactly_once(
    url: str, tables: Tables, point: str, committed: bool
) -> None:
    # Given a process that was killed before or after an append of its engine
    die(url, "trip", "inline", point)
    assert tables.rows() == (["4a"] if committed else [])
    # When
    run, events = going_on(url, "trip", "inline")
    # Then
    assert (run.result, tables.rows()) == ("thanks, ticket for 4a", ["4a"])
    assert [type(event).__name__ for event in events] == ["TaskStarted", "TaskSucceeded"]
    booking.app.close()


@pytest.mark.crash
@pytest.mark.parametrize(("point", "committed"), POINTS)
def test_c8_a_revert_with_a_connection_undoes_exactly_once(
    url: str, tables: Tables, point: str, committed: bool
) -> None:
    # Given a process that was killed while it undid the booking
    die(url, "no_trip", "inline", f"{point}:2")
    assert tables.rows("undone") == (["succeeded ticket for 4a"] if committed else [])
    # When
    run, _ = going_on(url, "no_trip", "inline")
    # Then
    assert (run.state, tables.rows(), tables.rows("undone")) == ("REVERTED", [], ["succeeded ticket for 4a"])
    booking.app.close()


@pytest.mark.crash
@pytest.mark.parametrize("point", ["transaction.before_settle", "transaction.after_settle"])
def test_c8_killed_while_an_attempt_is_declared_lost(url: str, tables: Tables, point: str) -> None:
    # Given a process that died before its commit, and another that died while it looked
    die(url, "trip", "threads", "transaction.before_commit")
    die(url, "trip", "threads", point)
    # When
    run, events = going_on(url, "trip", "threads")
    # Then the first attempt was interrupted, once
    assert (run.result, tables.rows()) == ("thanks, ticket for 4a", ["4a"])
    assert [type(event).__name__ for event in events].count("TaskInterrupted") == 1
    booking.app.close()


# -- in one process -------------------------------------------------------------------------------


@pytest.fixture
def app(url: str) -> Iterator[App]:
    made = App("desk", database_url=url)
    yield made
    made.close()


def book_in(connection: Connection, seat: str) -> None:
    connection.execute(text("INSERT INTO bookings VALUES (:seat)"), {"seat": seat})


def test_c8_a_failed_attempt_leaves_nothing_and_the_next_one_may_succeed(app: App, tables: Tables) -> None:
    # Given
    @app.task(transactional=True, attempts=2)
    def book(connection: Connection, ctx: TaskContext) -> int:
        book_in(connection, f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError("no")
        return ctx.attempt

    # When
    run = app.run(book.bind())
    # Then
    assert (run.result, tables.rows()) == (2, ["attempt 2"])


def test_c8_a_result_that_cannot_be_stored_is_rolled_back(app: App, tables: Tables) -> None:
    # Given
    @app.task(transactional=True)
    def book(connection: Connection) -> int:
        book_in(connection, "a")
        return "no number"  # type: ignore[return-value]

    # When
    run = app.run(book.bind(), check=False)
    # Then, better than C9, nothing stands
    assert (run.state, run.failures[0].kind, tables.rows()) == ("REVERTED", "result", [])


@pytest.mark.parametrize("fails", [True, False])
def test_c8_a_revert_always_knows_how_it_ended(app: App, tables: Tables, fails: bool) -> None:
    # Given
    seen: list[object] = []

    @app.task(transactional=True, timeout=0.2 if fails else 30)
    def book(connection: Connection) -> None:
        book_in(connection, "a")
        if fails:
            Event().wait(0.6)

    @book.revert
    def cancel(ctx: TaskContext) -> None:
        seen.append(ctx.outcome)

    @app.task
    def after() -> None:
        raise ValueError

    @app.flow
    def trip() -> Flow[None]:
        return linear(book, after)

    # When
    app.run(trip(), check=False)
    # Then: even of one that was out of time it is known that nothing was booked
    assert seen == ["failed" if fails else "succeeded"]
    assert tables.rows() == ([] if fails else ["a"])


def test_c8_no_more_is_declared_lost_than_the_attempt_whose_time_is_over(
    app: App, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one that takes too long, and others that go on beside it
    store: Any = app.runtime.store
    lost, settle = list[int](), store.settle

    def told(key: OutcomeKey, *, version: int) -> bytes | None:
        lost.append(version)
        return settle(key, version=version)  # type: ignore[no-any-return]

    monkeypatch.setattr(store, "settle", told)

    @app.task(transactional=True, timeout=0.3)
    def book(connection: Connection) -> None:
        book_in(connection, "a")
        Event().wait(0.8)

    @app.task
    def other() -> None: ...

    @app.flow
    def trip() -> Flow[Any]:
        return unordered(book, linear(*[other] * 3))

    # When
    run = app.run(trip(), check=False)
    # Then
    begun = [e.version for e in log_of(app, run) if isinstance(e.event, facts.TaskStarted) and e.path == "trip/book"]
    assert lost == begun


def test_c8_a_transaction_whose_time_is_over_is_lost_though_its_body_goes_on(app: App, tables: Tables) -> None:
    # Given a body that returns well, but late
    ended = Event()

    @app.task(transactional=True, timeout=1, attempts=2)
    def book(connection: Connection, ctx: TaskContext) -> int:
        book_in(connection, str(ctx.attempt))
        if ctx.attempt == 1:
            while not ctx.cancelled:
                Event().wait(0.01)
            Event().wait(0.3)
            ended.set()
        return ctx.attempt

    @app.task
    def wait_for_it() -> None:
        assert ended.wait(30)

    @app.flow
    def trip() -> Flow[Any]:
        return linear(book, wait_for_it)

    # When
    run = app.run(trip())
    # Then
    failed = next(e.event for e in log_of(app, run) if isinstance(e.event, facts.TaskFailed))
    assert (failed.failure.kind, failed.still_running, failed.again) == ("timeout", True, True)
    assert tables.rows() == ["2"]


def test_c8_a_poll_that_is_not_ready_writes_nothing(app: App, tables: Tables) -> None:
    # Given
    asked: list[int] = []

    @app.task(transactional=True)
    def book(connection: Connection) -> int:
        book_in(connection, "a")
        asked.append(1)
        if len(asked) < 3:
            raise NotReady(retry_after=0.01)
        return len(asked)

    # When
    run = app.run(book.bind())
    # Then
    assert (run.result, tables.rows()) == (3, ["a"])


def test_c8_many_at_once_beside_other_tasks(app: App, tables: Tables) -> None:
    # Given more than may be under way at once
    @app.task(transactional=True)
    def book(n: int, connection: Connection) -> int:
        book_in(connection, str(n))
        return n

    @app.task
    def other(n: int) -> int:
        return n

    @app.flow
    def trip() -> Flow[Any]:
        return unordered(book.each(range(12)), other.each(range(12)))

    # When
    run = app.run(trip())
    # Then
    assert run.state == "SUCCEEDED"
    assert sorted(map(int, tables.rows())) == list(range(12))


def test_c8_a_commit_whose_answer_is_lost_is_looked_up(app: App, url: str, tables: Tables) -> None:
    if url.startswith("sqlite"):
        pytest.skip("a commit on a file has no answer that could be lost")

    # Given a connection that breaks at the commit
    pids: list[int] = []

    @app.task(transactional=True, attempts=2)
    def book(connection: Connection, ctx: TaskContext) -> int:
        pids.append(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        book_in(connection, str(ctx.attempt))
        return ctx.attempt

    def cut() -> None:
        sql(url, "SELECT pg_terminate_backend(%s)", pids[-1])

    # When
    with failpoint.armed("transaction.before_commit", action=cut):
        run = app.run(book.bind())
    # Then the first attempt was declared lost and the second one booked
    assert (run.result, tables.rows()) == (2, ["2"])


# -- what makes no sense --------------------------------------------------------------------------


def test_c8_a_transactional_task_asks_for_exactly_one_connection() -> None:
    app = App("desk")

    @app.task(transactional=True)
    def none() -> None: ...

    @app.task(transactional=True)
    def two(a: Connection, b: Connection) -> None: ...

    @app.task(transactional=True)
    async def waits(connection: Connection) -> None: ...

    for task, why in ((none, "asks for none"), (two, "asks for 2: a, b"), (waits, "cannot be async")):
        with pytest.raises(DefinitionError, match=why):
            app.plan(task)


def test_c8_its_revert_asks_for_one_connection_or_none() -> None:
    app = App("desk")

    @app.task(transactional=True)
    def book(connection: Connection) -> None: ...

    @book.revert
    def cancel(a: Connection, b: Connection) -> None: ...

    with pytest.raises(DefinitionError, match=r"the revert of book .* asks for 2 connections"):
        app.plan(book)


def test_c8_a_transaction_takes_at_most_a_minute() -> None:
    app = App("desk")

    with pytest.raises(DefinitionError, match="timeout=61 is longer than a transaction may take"):

        @app.task(transactional=True, timeout=61)
        def book(connection: Connection) -> None: ...


def test_c8_it_needs_a_database() -> None:
    app = App("desk", database_url="memory://")

    @app.task(transactional=True)
    def book(connection: Connection) -> None: ...

    with pytest.raises(NotSupported, match="book is transactional, and memory:// is no database"):
        app.run(book.bind())
    assert list(app.runs()) == []
    app.close()
