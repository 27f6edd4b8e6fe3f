"""B3, G8: runs are submitted for whoever takes them; in a caller's transaction: there with it, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from flowledger import App, Flow, FlowNotRegistered, IllegalRequest, InputError, KeyConflict, linear
from flowledger.adapters.stores.postgres import locate
from flowledger.events import facts
from tests.acceptance.command_line import Command, flowledger
from tests.acceptance.logs import events, log_of, story
from tests.postgres import connect

__all__ = ["flowledger"]  # a fixture


class Order(BaseModel):
    what: str
    count: int = 1


class Shop(App):
    """An app with a flow to submit."""

    def __init__(self, url: str) -> None:
        super().__init__("shop", database_url=url)

        @self.task(read_only=True)
        def pack(order: Order) -> str:
            return f"{order.count} × {order.what}"

        @self.flow
        def order(order: Order) -> Flow[str]:
            packed = pack.bind(order)
            return linear(packed, returns=packed)

        self.order = order


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def app(url: str) -> Iterator[Shop]:
    made = Shop(url)
    yield made
    made.close()


TEA = Order(what="tea")


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"key": 3},
        {"key": ""},
        {"key": "k" * 201},
        {"tags": ["a"]},
        {"tags": {"a": 1}},
        {"tags": {"": "a"}},
        {"queue": ""},
        {"queue": "a\nb"},
        {"not_before": "tomorrow"},
        {"not_before": timedelta(days=1)},
        {"not_before": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"priority": "high"},
    ],
    ids=repr,
)
def test_an_option_that_makes_no_sense_is_refused_and_nothing_is_written(app: Shop, options: dict[str, Any]) -> None:
    [option] = options
    with pytest.raises(InputError) as refused:
        app.submit(app.order(TEA), **options)
    assert (refused.value.field, bool(refused.value.hint or refused.value.expected in refused.value.message)) == (
        option,
        True,
    )
    assert list(app.runs()) == []


def test_there_are_two_ways_to_fail(app: Shop) -> None:
    with pytest.raises(InputError, match="on_failure='explode': expected 'revert' or 'stop'"):
        app.run(app.order(TEA), on_failure="explode")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert list(app.runs()) == []


# -- without a conductor --------------------------------------------------------------------------


def test_b3_a_submitted_run_has_a_queue_and_no_owner_and_nothing_of_it_has_begun(app: Shop) -> None:
    # When
    run = app.submit(app.order(TEA), key="k", priority=3, tags={"shop": "1"})
    # Then
    stream = app.stream_of(run.id)
    assert (run.state, stream.queue, stream.owner, stream.epoch, stream.priority) == ("PENDING", "default", None, 0, 3)
    assert story(log_of(app, run)) == ["RunSubmitted"]


def test_b3_where_nobody_takes_jobs_waiting_drives_it(app: Shop) -> None:
    run = app.submit(app.order(TEA))
    assert run.wait(60) == "1 × tea"
    assert story(log_of(app, run))[:2] == ["RunSubmitted", "RunStarted"]


def test_b3_resume_takes_it_up_and_so_does_the_same_call_again(app: Shop) -> None:
    # Given
    first, second = app.submit(app.order(TEA)), app.submit(app.order(TEA), key="k")
    # When / Then
    assert first.resume().result == "1 × tea"
    assert app.run(app.order(TEA), key="k").id == second.id
    assert second.result == "1 × tea"


def test_g8_the_same_key_is_the_same_run_and_other_inputs_are_refused(app: Shop) -> None:
    run = app.submit(app.order(TEA), key="k")
    assert app.submit(app.order(TEA), key="k").id == run.id
    with pytest.raises(KeyConflict):
        app.submit(app.order(Order(what="milk")), key="k")


def test_f3_nobody_begins_a_run_before_its_time(app: Shop) -> None:
    # Given
    soon = datetime.now(UTC) + timedelta(seconds=1)
    run = app.submit(app.order(TEA), not_before=soon)
    # When / Then
    with pytest.raises(IllegalRequest, match="is not to begin before"):
        run.resume()
    assert run.wait(60) == "1 × tea"
    started = next(e for e in log_of(app, run) if e.type == "RunStarted")
    assert started.at >= soon
    with pytest.raises(InputError, match="no time zone"):
        app.submit(app.order(TEA), not_before=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("priority", [1 << 31, 1.5, "high"])
def test_b3_a_priority_is_a_whole_number(app: Shop, priority: Any) -> None:
    with pytest.raises(InputError, match="is not a whole number"):
        app.submit(app.order(TEA), priority=priority)


def test_submit_without_blocking_and_by_name(app: Shop) -> None:
    # Given
    async def submitted() -> str:
        return (await app.asubmit(app.order(TEA))).id

    # When / Then
    assert app.get(asyncio.run(submitted())).wait(60) == "1 × tea"
    assert app.submit_named("order", {"order": Order(what="milk", count=2)}).wait(60) == "2 × milk"
    assert app.submit_named("order", {"order": {"what": "rice"}}, key="r").wait(60) == "1 × rice"
    with pytest.raises(FlowNotRegistered):
        app.submit_named("ordre", {})
    with pytest.raises(InputError):
        app.submit_named("order", {"order": {"count": 1}})
    with pytest.raises(InputError, match="cannot be written as JSON"):
        app.submit_named("order", {"order": object()})


# -- in the transaction of a caller ---------------------------------------------------------------


Way = Callable[[str], AbstractContextManager[Any]]


@contextmanager
def through_sqlalchemy(url: str) -> Iterator[Any]:
    engine = create_engine(url.partition("?")[0])
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def through_a_session(url: str) -> Iterator[Any]:
    engine = create_engine(url.partition("?")[0])
    with Session(engine) as session:
        yield session.connection()
    engine.dispose()


@contextmanager
def through_psycopg(url: str) -> Iterator[Any]:
    if not url.startswith("postgresql"):
        pytest.skip("psycopg speaks to Postgres")
    with connect(url) as connection:
        connection.autocommit = False
        yield connection


WAYS = [through_sqlalchemy, through_a_session, through_psycopg]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("commits", [True, False])
def test_b3_a_run_is_submitted_with_the_callers_commit_or_not_at_all(
    app: Shop, url: str, way: Way, commits: bool
) -> None:
    # Given a caller that writes something of its own
    with way(url) as connection:
        mine: Any = "CREATE TABLE IF NOT EXISTS mine (x INTEGER)"
        connection.execute(text(mine) if isinstance(connection, Connection) else mine)
        # When it submits on its connection
        run = app.submit(app.order(Order(what="x" * 70_000)), key="k", connection=connection)
        again = app.submit(app.order(Order(what="x" * 70_000)), key="k", connection=connection)
        with pytest.raises(KeyConflict):
            app.submit(app.order(TEA), key="k", connection=connection)
        # Then nothing is there before it commits (SQLite's readers do not even have to wait)
        assert app.runtime.store.stream(run.id) is None
        if commits:
            connection.commit()
        else:
            connection.rollback()
    # And then both or neither
    assert again.id == run.id
    assert [found.id for found in app.runs()] == ([run.id] if commits else [])
    if commits:
        assert run.wait(60).endswith("x")
        assert len(list(events(log_of(app, run), facts.RunSubmitted))) == 1


@pytest.mark.parametrize("way", WAYS)
def test_b3_a_connection_that_commits_by_itself_is_refused(app: Shop, url: str, way: Way) -> None:
    app.submit(app.order(TEA)).wait(60)
    with way(url) as connection:
        connection.rollback()
        if isinstance(connection, Connection):
            connection.execution_options(isolation_level="AUTOCOMMIT")
        else:
            connection.autocommit = True
        with pytest.raises(InputError, match="commits each statement on its own"):
            app.submit(app.order(TEA), connection=connection)
    assert len(list(app.runs())) == 1


def test_b3_a_connection_to_another_database_is_refused(app: Shop, url: str, tmp_path: Path) -> None:
    # Given connections that lead elsewhere
    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    with engine.connect() as connection, pytest.raises(InputError, match="another database than the log's"):
        app.submit(app.order(TEA), connection=connection)
    engine.dispose()
    if url.startswith("postgresql"):
        elsewhere = locate(url).url.set(drivername="postgresql", database="postgres", query={})
        with (
            psycopg.connect(elsewhere.render_as_string(hide_password=False)) as other,
            pytest.raises(InputError, match="another database than the log's"),
        ):
            app.submit(app.order(TEA), connection=other)
    # When / Then
    with pytest.raises(InputError, match="it is n"):
        app.submit(app.order(TEA), connection=object())
    assert list(app.runs()) == []


# -- the command line -----------------------------------------------------------------------------


APP = """
from flowledger import App, Flow, linear

app = App("hello")


@app.task(read_only=True)
def greet(name: str) -> str:
    return f"hello, {name}"


@app.flow
def greeting(name: str) -> Flow[str]:
    greeted = greet.bind(name)
    return linear(greeted, returns=greeted)
"""


def test_b3_submit_on_the_command_line(flowledger: Command, tmp_path: Path) -> None:
    # Given
    (tmp_path / "greetings.py").write_text(APP)
    common = ("--app", "greetings:app", "--database-url", f"sqlite:///{tmp_path}/log.db")
    # When
    said = flowledger("submit", "greeting", "--set", "name=ada", "--key", "k", "--json", *common)
    waited = flowledger("submit", "greeting", "--set", "name=ada", "--key", "k", "--wait", "--json", *common)
    # Then
    assert (said.code, said.json["state"], said.json["queue"]) == (0, "PENDING", "default")
    assert "nobody takes jobs of queue 'default' now" in said.err
    assert (waited.code, waited.json["id"], waited.json["result"]) == (0, said.json["id"], "hello, ada")
    assert flowledger("submit", "greeting", "--set", "name=a", "--not-before", "tomorrow", *common).code == 2
