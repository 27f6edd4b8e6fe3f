"""The clock port: store time that never goes back (rule F1)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import monotonic_ns, sleep

import pytest

from flowledger.adapters.clock import ManualClock, Reading, StoreClock

HOUR_US = 3_600_000_000


class Times:
    """A store's clock that runs with this machine's, shifted at will."""

    def __init__(self) -> None:
        self.offset_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return monotonic_ns() // 1000 + self.offset_us


@pytest.fixture
def times() -> Times:
    return Times()


def test_f1_shows_store_time_between_two_reads(times: Times) -> None:
    # Given
    clock = StoreClock(times)
    # When
    before, now, after = times.now_us(), clock.now_us(), times.now_us()
    # Then: but for the microseconds that reading took
    assert before - 1000 <= now <= after + 1000


def test_f1_a_jump_ahead_is_taken_at_the_next_sync(times: Times) -> None:
    # Given
    clock = StoreClock(times)
    times.offset_us += HOUR_US
    assert clock.now_us() < times.now_us() - HOUR_US // 2
    # When
    clock.sync()
    # Then
    assert abs(clock.now_us() - times.now_us()) < 10_000


def test_f1_a_reading_of_somebody_else_is_agreed_with(times: Times) -> None:
    # Given
    clock = StoreClock(times)
    # When: somebody has read the time, an hour ahead, at some moment within 20 ms
    now = monotonic_ns()
    clock.sync(Reading(now - 20_000_000, times.now_us() + HOUR_US, now))
    # Then
    assert abs(clock.now_us() - times.now_us() - HOUR_US) < 30_000


def test_f1_a_reading_that_allows_for_the_time_as_it_is_changes_nothing(times: Times) -> None:
    # Given a clock that is right
    clock = StoreClock(times)
    # When: a statement tells the time that it was when it began, and took 2 s to commit
    asked, store_us = monotonic_ns(), times.now_us()
    clock.sync(Reading(asked - 1_000_000, store_us, asked + 2_000_000_000))
    # Then
    assert abs(clock.now_us() - times.now_us()) < 10_000


def test_f1_a_step_back_stands_still_and_never_shows_an_earlier_time(times: Times) -> None:
    # Given
    clock = StoreClock(times)
    shown = [clock.now_us()]
    # When: store time falls back by 0.3 s, more than the margin of the correction
    times.offset_us -= 300_000
    clock.sync()
    while abs(clock.now_us() - times.now_us()) > 10_000:
        shown.append(clock.now_us())
        sleep(0.001)
    # Then
    assert len(shown) > 100
    assert all(a <= b for a, b in pairwise(shown))


def test_f1_two_steps_back_in_a_row_and_one_ahead_never_show_an_earlier_time(times: Times) -> None:
    # Given
    clock = StoreClock(times)
    shown = [clock.now_us()]
    # When
    for step_us in (-300_000, -50_000, -HOUR_US, 200_000, HOUR_US):
        times.offset_us += step_us
        for _ in range(30):
            clock.sync()
            shown.append(clock.now_us())
            sleep(0.005)
    # Then
    assert all(a <= b for a, b in pairwise(shown))


def test_f1_no_thread_sees_time_go_back_while_another_corrects_it(times: Times) -> None:
    # Given
    clock = StoreClock(times)

    def watch(_: int) -> bool:
        shown = [clock.now_us() for _ in range(100_000)]
        return all(a <= b for a, b in pairwise(shown))

    # When
    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch, n) for n in range(3)]
        while not all(watcher.done() for watcher in watchers):
            times.offset_us -= 7
            clock.sync()
    # Then
    assert all(watcher.result() for watcher in watchers)


def test_a_manual_clock_stands_still_until_told() -> None:
    # Given
    clock = ManualClock(1_000)
    # When / Then
    assert clock.now_us() == clock.now_us() == 1_000
    assert clock.advance(s=1.5, us=2) == clock.now_us() == 1_501_002
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(us=-1)
