"""What somebody's open transaction hides from who reads views of the log (rule H2)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from threading import Event, Timer
from time import monotonic

import psycopg
import pytest

from flowledger import App, Flow, linear
from flowledger.adapters.projecting import embedded
from flowledger.adapters.projecting.catching_up import Progress
from flowledger.adapters.projecting.together import Together
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import PostgresStore
from flowledger.adapters.stores.views import views_of
from flowledger.adapters.views import CATCH_UP_S
from flowledger.events.store import START, Cursor, Store
from flowledger.projections.history.tables import RUNS
from flowledger.projections.selecting import Select
from tests.acceptance.command_line import Command, flowledger
from tests.postgres import connect, made
from tests.postgres_server import Cluster, binaries, cluster, wait_until

__all__ = ["flowledger"]

pytestmark = pytest.mark.skipif(binaries() is None, reason="no Postgres binaries: install the dev extra")

shop = App("shop")


@shop.task
def pay() -> None: ...


@shop.flow
def order() -> Flow[None]:
    return linear(pay)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """One of its own: what is held open here would hide what all others of the cluster write from their readers."""
    with cluster() as running:
        yield running


_numbers = count(1)


@pytest.fixture
def postgres_url(server: Cluster) -> str:
    return made(server.url(schema=f"held_back_{next(_numbers)}"))


@pytest.fixture
def app(postgres_url: str) -> Iterator[App]:
    app = App("counter", database_url=postgres_url)
    app.include(shop)
    yield app
    app.close()


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.fixture
def somebody(postgres_url: str) -> Iterator[psycopg.Connection]:
    """Who has written something, elsewhere in the cluster, and not committed it."""
    with connect(postgres_url) as connection:
        connection.execute("SET application_name = 'nightly import'")
        connection.execute("BEGIN")
        connection.execute("SELECT pg_current_xact_id()")
        yield connection


def test_h2_reading_waits_for_what_an_open_transaction_hides(
    app: App, store: Store, somebody: psycopg.Connection
) -> None:
    # Given
    done = app.run(order())
    assert store.read_all(START) == []
    # When
    Timer(0.3, somebody.execute, ["COMMIT"]).start()
    # Then
    assert [run.id for run in app.history.runs().items] == [done.id]
    assert app.history.behind_us == 0


def test_h2_what_is_held_back_for_long_is_said_with_who_does_it(
    app: App, store: Store, somebody: psycopg.Connection, postgres_url: str, flowledger: Command
) -> None:
    # Given
    done = app.run(order())
    # When / Then
    assert app.history.runs().items == []
    assert app.history.behind_us > 0
    # Then only the first to read has waited
    began = monotonic()
    assert app.history.runs().items == []
    assert monotonic() - began < CATCH_UP_S
    # And who holds it back is named
    hidden = store.hidden()
    assert hidden is not None
    assert hidden.by == f"process {somebody.info.backend_pid} (nightly import) in the database {somebody.info.dbname}"
    assert hidden.since_us == store.read(done.id, limit=1)[0].time_us
    shown = flowledger("projections", "status", "--json", "--database-url", postgres_url)
    assert shown.json["held_back"]["by"] == hidden.by
    # When it ends
    somebody.execute("COMMIT")
    # Then
    assert [run.id for run in app.history.runs().items] == [done.id]


def test_h2_reading_waits_for_what_was_there_and_not_for_what_comes_after_it(
    app: App, somebody: psycopg.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    done, waits, wait = app.run(order()), Event(), PostgresStore.wait

    def told(store: PostgresStore, after: Cursor, *, timeout_s: float) -> bool:
        waits.set()
        return wait(store, after, timeout_s=timeout_s)

    monkeypatch.setattr(PostgresStore, "wait", told)
    with connect(postgres_url) as another, ThreadPoolExecutor(1) as pool:
        # When somebody reads, and before the first transaction ends another begins, which hides a further run
        reading = pool.submit(lambda: [run.id for run in app.history.runs().items])
        assert waits.wait(60)
        another.execute("BEGIN")
        another.execute("SELECT pg_current_xact_id()")
        app.run(order())
        somebody.execute("COMMIT")
        # Then
        assert reading.result() == [done.id]
        assert app.history.behind_us == 0


def test_h2_a_process_that_keeps_views_takes_in_what_was_hidden_from_it_when_it_shows(
    app: App, store: Store, somebody: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process whose projector has looked in vain for what it wrote itself
    looked, round_ = Event(), Together.round

    def told(together: Together, *, limit: int) -> Progress:
        done = round_(together, limit=limit)
        if not done.events and not done.waits:
            looked.set()
        return done

    monkeypatch.setattr(Together, "round", told)
    for name in ("FIRST_S", "LOOK_S"):
        monkeypatch.setattr(embedded, name, 0.01)
    done = app.run(order())
    assert looked.wait(60)
    # When the transaction that hid it ends, and nothing more is written
    somebody.execute("COMMIT")
    # Then
    wait_until(lambda: _shown(store) == [done.id], "it does not show")


def _shown(store: Store) -> list[object]:
    """The runs in the views, by who takes in nothing itself."""
    with closing(views_of(store)) as views:
        return [row["run_id"] for row in views.select("history", Select(RUNS, order=("run_id",)))]
