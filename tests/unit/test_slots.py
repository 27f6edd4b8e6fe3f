"""Slots: who may start a body, and who is woken when one is free (rule C1)."""

from __future__ import annotations

from flowledger.core.engine.slots import AHEAD_BODIES, AHEAD_S, Slots


def emptied(slots: Slots, *, in_hand: bool = False) -> int:
    """How many slots can be taken."""
    taken = 0
    while slots.take(in_hand=in_hand):
        taken += 1
    return taken


def after_bodies(took_s: float, *, capacity: int = 4, count: int = 500) -> Slots:
    """Slots of a lane whose bodies have taken so long."""
    slots = Slots(capacity, ahead=True)
    for _ in range(count):
        assert slots.take(in_hand=True)
        slots.give(took_s=took_s)
    return slots


def test_c1_no_more_starts_than_places_where_nothing_is_known_of_the_bodies() -> None:
    assert emptied(Slots(4, ahead=True)) == 4


def test_c1_short_bodies_are_started_ahead_as_many_as_fit_into_the_time() -> None:
    assert emptied(after_bodies(0.001)) == 4 + round(4 * AHEAD_S / 0.001)
    assert emptied(after_bodies(0.0)) == 4 + AHEAD_BODIES


def test_c1_long_bodies_are_not_started_ahead() -> None:
    assert emptied(after_bodies(1.0)) == 4
    assert emptied(after_bodies(0.0, count=0)) == 4


def test_c1_one_long_body_ends_starting_ahead() -> None:
    # Given
    slots = after_bodies(0.0)
    # When
    slots.take()
    slots.give(took_s=60.0)
    # Then
    assert emptied(slots) == 4


def test_c1_a_lane_that_is_not_to_be_ahead_never_is() -> None:
    # Given
    slots = Slots(2)
    for _ in range(500):
        slots.take()
        slots.give(took_s=0.0)
    # Then
    assert emptied(slots) == 2


def test_c1_a_place_in_hand_is_one_that_is_free_now() -> None:
    # Given a lane that starts ahead, with one place left
    slots = after_bodies(0.0)
    for _ in range(3):
        slots.take()
    # Then
    assert emptied(slots, in_hand=True) == 1
    assert slots.take()


def test_c1_while_somebody_waits_for_a_place_in_hand_nobody_starts_ahead() -> None:
    # Given all places taken, and one that needs a place in hand
    slots, woken = after_bodies(0.0), list[str]()
    for _ in range(5):
        slots.take()
    slots.wait("careful", lambda: woken.append("careful"), in_hand=True)
    # Then others wait behind it
    assert not slots.take()
    slots.wait("other", lambda: woken.append("other"))
    # When the places become free
    slots.give()
    assert woken == []
    slots.give()
    # Then it comes first; and still nobody is ahead of it before it has taken its place
    assert woken == ["careful"]
    assert slots.free == 1
    assert slots.take("careful", in_hand=True)
    assert slots.free == AHEAD_BODIES


def test_who_waits_longest_is_woken_first_and_once() -> None:
    # Given
    slots, woken = Slots(1), list[int]()
    assert slots.take()
    for who in (1, 2):
        slots.wait(who, lambda who=who: woken.append(who))  # type: ignore[misc]
    slots.wait(1, lambda: woken.append(-1))  # keeps its place
    # When
    slots.give()
    # Then
    assert woken == [1]
    slots.pass_on()
    assert woken == [1, 2]
    slots.pass_on()
    assert woken == [1, 2]


def test_c1_who_waits_is_woken_when_there_are_more_places() -> None:
    # Given a lane with one place, and three that wait for another
    slots, woken = Slots(1), list[str]()
    assert slots.take()
    for name in ("a", "b", "c"):
        slots.wait(name, lambda name=name: woken.append(name))  # type: ignore[misc]
    # When
    slots.resize(3)
    # Then
    assert woken == ["a", "b"]
    assert emptied(slots) == 2
