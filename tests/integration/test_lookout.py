"""A conductor is told of jobs by its lookout, and asks the board nothing while there are none (rule B7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from flowledger import App, Flow, linear
from flowledger.adapters.conductor import conducting, lookout
from flowledger.adapters.conductor.lookout import Lookout
from flowledger.adapters.conductor.refusals import FIRST_S, Refusals
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.adapters.stores.postgres.polling import JOBS_POLL_S
from flowledger.events.board import Offer
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Owner
from tests.conformance.streams import joined, new_run
from tests.postgres_server import wait_until

OFFER = Offer(app="shop", factories=("order",), queues=("shop",), takeover_s=20)


class Watch:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """A board, somebody who looks out, and how often a job was seen."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.me: Owner = joined(self.store)
        self.watch = Watch()
        self.refusals = Refusals(self.watch)
        self.seen = 0
        self.then: Callable[[], None] = lambda: None
        self.lookout = Lookout(self.store.board, self.me.id, OFFER, refusals=self.refusals, seen=self.sees)

    def sees(self) -> None:
        self.seen += 1
        self.then()

    def job(self) -> str:
        return new_run(self.store, queue="shop").run_id

    def claim(self) -> list[str]:
        return [run_id for run_id, _ in self.store.board.claim(self.me.id, OFFER, limit=10)]


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.lookout.stop()
    found.store.leave(found.me.id)


def test_b7_a_job_is_seen_once_and_the_next_one_when_it_is_looked_for_again(world: World) -> None:
    # Given
    world.lookout.look()
    # When
    first = world.job()
    wait_until(lambda: world.seen == 1, "it was not seen")
    assert world.claim() == [first]
    second = world.job()
    # Then
    assert world.seen == 1
    world.lookout.look()
    wait_until(lambda: world.seen == 2, "the next one was not seen")
    assert world.claim() == [second]


def test_what_was_refused_is_not_seen_until_its_time_has_come(world: World) -> None:
    # Given
    refused = world.job()
    world.refusals.add(refused)
    world.watch.now_s = FIRST_S - 0.1
    # When
    world.lookout.look()
    sleep(0.2)
    assert world.seen == 0
    world.watch.now_s = FIRST_S
    # Then: though nothing has happened on the board
    wait_until(lambda: world.seen == 1, "it was left to others for good")


def test_a_board_that_is_away_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    wait, failures = world.store.board.wait, [StoreUnavailable("away")]

    def away(*args: Any, **more: Any) -> bool:
        if failures:
            raise failures.pop()
        return wait(*args, **more)

    monkeypatch.setattr(world.store.board, "wait", away)
    monkeypatch.setattr(lookout, "AWAY_S", 0.01)
    # When
    world.job()
    world.lookout.look()
    # Then
    wait_until(lambda: world.seen == 1, "it was not asked again")
    assert failures == []


def test_what_cannot_be_claimed_is_looked_at_less_and_less_often(world: World) -> None:
    # Given a job that is there, and that somebody else has under lock
    world.job()
    world.then = lambda: world.lookout.look(in_vain=True)
    # When
    world.lookout.look()
    sleep(0.7)
    # Then: at 0, 0.02, 0.06, 0.14, 0.3, 0.62 s
    assert 2 <= world.seen <= 6


def test_heard_is_what_was_said_and_not_what_was_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a lookout that waits for a moment at a time
    monkeypatch.setattr(lookout, "WAIT_S", 0.03)
    world.lookout.look()
    wait_until(lambda: world.lookout.heard_at > float("-inf"), "never heard")
    # When there is nothing, again and again
    before = world.lookout.heard_at
    wait_until(lambda: world.lookout.heard_at > before, "not heard again")
    # Then
    assert monotonic() - world.lookout.heard_at < 30
    assert world.seen == 0


# -- a conductor --------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    found = App("shop", database_url=str(url))

    @found.task
    async def ship() -> float:
        return monotonic()

    @found.flow
    def order() -> Flow[float]:
        shipped = ship.bind()
        return linear(shipped, returns=shipped)

    yield found
    found.close()


def conducting_(app: App, meanwhile: Callable[[], None]) -> None:
    async def serve() -> None:
        async with app.conductor():
            await asyncio.to_thread(meanwhile)

    asyncio.run(serve())


def submitted(app: App) -> float:
    """How long after its submission the body of a job began."""
    began = monotonic()
    run = app.submit_named("order", {})
    return float(run.wait(timeout=30)) - began


def test_b7_a_job_begins_as_soon_as_it_is_submitted_also_by_another_process(app: App) -> None:
    # Given a conductor, and an app of its own as another process has it
    elsewhere = App("shop", database_url=app.settings.database_url)
    elsewhere.include(app)
    took: list[float] = []

    def submit() -> None:
        submitted(app)
        took.extend(submitted(elsewhere) for _ in range(7))

    # When
    conducting_(app, submit)
    elsewhere.close()
    # Then
    assert sorted(took)[3] < 0.4, "who only looked now and then would be later"


def test_b7_a_conductor_with_nothing_to_do_makes_no_statement_but_the_poll_and_the_beat(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    app = App("shop", database_url=postgres_url)
    app.task(name="noop")(lambda: None)
    statements: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        statements.append(str(query))
        return execute(self, query, *args, **more)

    store: Any = app.living_runtime().store
    poll = store._texts.poll(log=False, mail=False, offers=1)
    idle: list[str] = []
    took_s, heartbeat_s = 0.0, app.settings.lease_heartbeat_s

    def rest() -> None:
        nonlocal took_s
        wait_until(lambda: poll in statements and bool(store.board.conductors()), "it has not begun")
        began, before = monotonic(), len(statements)
        sleep(2.5)
        idle.extend(statements[before:])
        took_s = monotonic() - began

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    # When
    conducting_(app, rest)
    app.close()
    # Then
    others = [text for text in idle if text != poll]
    assert len(others) <= took_s / heartbeat_s + 1, others
    assert all("owners SET last_seen_us" in text for text in others)
    assert 1 <= idle.count(poll) <= took_s / JOBS_POLL_S + 1


def test_a_conductor_is_ready_while_the_board_says_that_there_is_nothing_and_not_when_it_says_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given waits that are short, and little patience
    monkeypatch.setattr(lookout, "WAIT_S", 0.1)
    monkeypatch.setattr(conducting, "UNHEARD_S", 1.5)
    board, claims, waits = app.living_runtime().store.board, list[float](), list[float]()
    claim, wait = board.claim, board.wait

    def claimed(*args: Any, **more: Any) -> Any:
        claims.append(monotonic())
        return claim(*args, **more)

    def waited(*args: Any, **more: Any) -> bool:
        waits.append(monotonic())
        return wait(*args, **more)

    monkeypatch.setattr(board, "claim", claimed)
    monkeypatch.setattr(board, "wait", waited)
    found = app.conducting()
    found.start()
    wait_until(lambda: found.ready().good and len(waits) > 1, "never ready")
    # When there is nothing for longer than it may be unheard
    wait_until(lambda: waits[-1] > claims[-1] + 2, "it does not look")
    # Then
    assert found.ready().good
    assert len(claims) == 1
    # When the board answers no more
    silence = Event()
    monkeypatch.setattr(board, "wait", lambda *_, **__: silence.wait(20))
    wait_until(lambda: not found.ready().good, "ready though the board says nothing")
    # Then
    assert "has not answered" in found.ready().why
    silence.set()
    monkeypatch.setattr(board, "wait", wait)
    wait_until(lambda: found.ready().good, "not ready again")
    found.drain()
    assert found.join(30)
