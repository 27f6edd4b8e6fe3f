"""The life sign of a process, and how it fences itself (rule B2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic, sleep

import pytest

from flowledger.adapters.clock import Reading, StoreClock
from flowledger.adapters.heartbeat import READING_S, Heartbeat
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Claim, Held
from tests.conformance.streams import joined, new_run


class Beaten(MemoryStore):
    """A store that counts beats, may be gone, and may hang."""

    def __init__(self) -> None:
        super().__init__()
        self.beats = self.missed = 0
        self.gone = False
        self.answers = threading.Event()
        self.answers.set()
        self.ahead_us = 0
        self.takes_s = 0.0

    def beat(self, owner_id: str) -> int:
        self.answers.wait(30)
        if self.gone:
            self.missed += 1
            raise StoreUnavailable("no connection")
        seen_us = super().beat(owner_id)
        self.beats += 1
        threading.Event().wait(self.takes_s)
        return seen_us

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


class Told:
    """A clock that keeps what it is told."""

    def __init__(self) -> None:
        self.readings: list[Reading | None] = []

    def now_us(self) -> int:
        return 0

    def sync(self, reading: Reading | None = None) -> None:
        self.readings.append(reading)


@pytest.fixture
def store() -> Beaten:
    return Beaten()


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not condition():
        assert monotonic() < deadline, "waited for 30 s"
        sleep(0.002)


def test_b2_a_heartbeat_is_a_new_owner_that_beats_until_it_leaves(store: Beaten) -> None:
    # Given
    heartbeat = Heartbeat(store, app="shop", heartbeat_s=0.01)
    run, me = new_run(store, owner=heartbeat.owner.id), joined(store)
    # When
    until(lambda: store.beats >= 3)
    # Then
    assert heartbeat.owner.pid == os.getpid()
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=20), Held)
    assert not heartbeat.fenced
    # When / Then
    heartbeat.close()
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=20), Claim)


def test_b2_no_owner_id_is_used_twice(store: Beaten) -> None:
    first, second = Heartbeat(store, app="shop"), Heartbeat(store, app="shop")
    assert first.owner.id != second.owner.id
    first.close()
    second.close()


def test_f1_each_beat_synchronises_the_clock(store: Beaten) -> None:
    # Given
    clock = StoreClock(store)
    heartbeat = Heartbeat(store, app="shop", clock=clock, heartbeat_s=0.01)
    # When
    store.ahead_us = 3_600_000_000
    # Then
    until(lambda: clock.now_us() > store.now_us() - 1_000_000)
    heartbeat.close()


@pytest.mark.parametrize("takes_s", [0.0, READING_S + 0.01], ids=["quick", "slow"])
def test_f1_a_beat_tells_the_time_unless_it_took_so_long_that_this_would_be_a_guess(
    store: Beaten, takes_s: float
) -> None:
    # Given
    clock, before = Told(), store.now_us()
    store.takes_s = takes_s
    # When
    heartbeat = Heartbeat(store, app="shop", clock=clock, heartbeat_s=0.01)
    until(lambda: len(clock.readings) >= 3)
    heartbeat.close()
    # Then: of a slow one nothing is taken, and the clock reads the time itself
    readings, after = [reading for reading in clock.readings if reading is not None], store.now_us()
    assert bool(readings) == (takes_s == 0)
    assert all(before <= reading.store_us <= after for reading in readings)


def test_b2_a_missed_beat_does_no_harm(store: Beaten) -> None:
    # Given
    fenced = threading.Event()
    heartbeat = Heartbeat(store, app="shop", on_fenced=fenced.set, heartbeat_s=0.01, fence_s=5)
    store.gone = True
    until(lambda: store.missed > 2)
    # When
    store.gone = False
    # Then
    beats = store.beats
    until(lambda: store.beats > beats + 2)
    assert not heartbeat.fenced
    assert not fenced.is_set()
    heartbeat.close()


def _goes(store: Beaten, heartbeat: Heartbeat) -> None:
    store.gone = True


def _hangs(store: Beaten, heartbeat: Heartbeat) -> None:
    store.answers.clear()


def _loses_the_row(store: Beaten, heartbeat: Heartbeat) -> None:
    store.leave(heartbeat.owner.id)


@pytest.mark.parametrize("fails", [_goes, _hangs, _loses_the_row])
def test_b2_a_process_that_cannot_beat_fences_itself_once(
    store: Beaten, fails: Callable[[Beaten, Heartbeat], None]
) -> None:
    # Given
    calls: list[float] = []
    fence_s = 30 if fails is _loses_the_row else 0.2
    heartbeat = Heartbeat(
        store, app="shop", on_fenced=lambda: calls.append(monotonic()), heartbeat_s=0.01, fence_s=fence_s
    )
    until(lambda: store.beats > 0)
    # When
    began = monotonic()
    fails(store, heartbeat)
    until(lambda: bool(calls))
    # Then
    assert heartbeat.fenced
    assert calls[0] - began < 10
    # When the store is back / Then it is too late
    beats = store.beats
    store.gone = False
    store.answers.set()
    heartbeat.close()
    assert store.beats <= beats + 1
    assert heartbeat.fenced
    assert len(calls) == 1


def test_b2_closing_from_the_callback_does_not_hang(store: Beaten) -> None:
    # Given
    done = threading.Event()

    def stop() -> None:
        heartbeat.close()
        done.set()

    heartbeat = Heartbeat(store, app="shop", on_fenced=stop, heartbeat_s=0.01, fence_s=0.1)
    # When
    store.gone = True
    # Then
    assert done.wait(30)
