"""Jobs a conductor could not take up: for how long it leaves them to others."""

from __future__ import annotations

from flowledger.adapters.conductor.refusals import FIRST_S, LONGEST_S, MOST, Refusals


class Watch:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_refused_job_is_left_alone_longer_each_time() -> None:
    # Given
    watch = Watch()
    refusals = Refusals(watch)
    # When / Then
    assert refusals.add("R") == FIRST_S
    assert list(refusals.now()) == ["R"]
    watch.now_s = FIRST_S
    assert list(refusals.now()) == []
    assert refusals.add("R") == 2 * FIRST_S
    assert [refusals.add("R") for _ in range(20)][-1] == LONGEST_S


def test_a_job_that_could_be_taken_up_begins_anew() -> None:
    # Given
    refusals = Refusals(Watch())
    refusals.add("R")
    refusals.add("R")
    # When
    refusals.drop("R")
    # Then
    assert list(refusals.now()) == []
    assert "R" not in refusals
    assert refusals.add("R") == FIRST_S


def test_a_claim_never_names_more_than_it_can() -> None:
    # Given
    watch = Watch()
    refusals = Refusals(watch)
    # When
    for number in range(MOST + 5):
        watch.now_s = float(number) / 1000
        refusals.add(f"R{number}")
    # Then the ones whose time comes first were dropped
    assert len(refusals.now()) == MOST
    assert "R0" not in refusals
