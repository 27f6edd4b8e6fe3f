"""What waits for workers is told to the store, and said in the log once per queue (rule C1)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flowledger.adapters.executors.waiting import Line, WaitingQueues
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events.claims import Unclaimed, WorkerRow
from flowledger.events.store import Owner

LATE = {"builds": Line(3, 31.0)}


class Engine:
    """One that asks; ``said`` is what it has logged since somebody looked."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.store = MemoryStore()
        self._log = log
        me = Owner(id=new_ulid(), host="h", pid=1, app="shop")
        self.store.join(me)
        self.queues = WaitingQueues(self.store.claims, owner=me.id, app="shop", clock=self.store)

    def look(self, lines: dict[str, Line]) -> list[str]:
        self._log.clear()
        asyncio.run(self.queues.look(lines))
        return [f"{record.levelname} {record.getMessage()}" for record in self._log.records]

    def works(self, *, state: str = "running", app: str = "shop") -> str:
        row = WorkerRow(new_ulid(), "h", 2, app, ("builds",), 1, state)
        self.store.claims.join(row)
        return row.id


@pytest.fixture
def engine(caplog: pytest.LogCaptureFixture) -> Engine:
    caplog.set_level(logging.INFO, "flowledger.workers")
    return Engine(caplog)


def test_what_waits_for_a_moment_is_nobodys_business(engine: Engine) -> None:
    assert engine.look({"builds": Line(3, 4.0)}) == []
    assert engine.store.claims.backlogs() == []


def test_what_waits_longer_is_told_until_it_does_not(engine: Engine) -> None:
    # When / Then
    assert engine.look({"builds": Line(3, 6.0), "tests": Line(1, 1.0)}) == []
    [told] = engine.store.claims.backlogs()
    assert told[:3] == ("shop", "builds", 3)
    assert 6.0 <= told.waits_s < 20.0
    engine.look({"builds": Line(2, 8.0)})
    assert engine.store.claims.backlogs()[0].waiting == 2
    engine.look({})
    assert engine.store.claims.backlogs() == []


def test_a_queue_that_nobody_takes_is_said_once_until_that_changes(engine: Engine) -> None:
    # When
    said = engine.look(LATE)
    # Then
    assert said == ["WARNING no worker that lives takes queue builds of app shop: 3 attempts wait, the oldest for 31 s"]
    assert engine.queues.unserved == LATE
    assert engine.look({"builds": Line(4, 33.0)}) == []
    # When somebody takes it
    worker = engine.works()
    assert engine.look(LATE)[0] == "INFO queue builds of app shop is taken again, by 1 workers"
    assert engine.queues.unserved == {}
    # And leaves
    engine.store.claims.leave(worker)
    assert engine.look(LATE)[0].startswith("WARNING no worker")


def test_a_queue_on_which_nothing_waits_any_more_is_forgotten(engine: Engine) -> None:
    # Given
    engine.look(LATE)
    # When / Then
    assert engine.look({}) == []
    assert engine.queues.unserved == {}


@pytest.mark.parametrize("fields", [{"state": "draining"}, {"app": "bank"}], ids=str)
def test_who_drains_or_is_anothers_takes_nothing(engine: Engine, fields: dict[str, str]) -> None:
    engine.works(**fields)
    assert engine.look(LATE)[0].startswith("WARNING no worker")


def test_workers_that_do_not_get_through_are_no_warning_and_said_once(engine: Engine) -> None:
    engine.works()
    assert engine.look(LATE) == [
        "INFO 1 workers take queue builds of app shop, and 3 attempts wait, the oldest for 31 s"
    ]
    assert engine.look(LATE) == []


def test_c1_nothing_is_kept_of_what_an_engine_asked_for_that_has_left() -> None:
    # Given
    store, me = MemoryStore(), Owner(id=new_ulid(), host="h", pid=1, app="shop")
    store.join(me)
    store.claims.say_unclaimed(me.id, [Unclaimed("builds", 1, store.now_us())])
    # When
    store.leave(me.id)
    # Then it says nothing when it is back, before it has said something
    store.join(me)
    assert store.claims.backlogs() == []
