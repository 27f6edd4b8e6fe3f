"""Durations in buckets: kept as text, close enough for percentiles."""

from __future__ import annotations

import pytest

from flowledger.projections.statistics import bounds, bucket, counts, one_more, percentile


@pytest.mark.parametrize("duration_us", [0, 1, 3, 4, 7, 8, 999, 1_000_000, 2**40 + 1])
def test_a_duration_lies_within_its_bucket_which_is_narrow(duration_us: int) -> None:
    low, high = bounds(bucket(duration_us))
    assert low <= duration_us < high
    assert high - low <= max(1, low / 4)


def test_counts_are_kept_as_text() -> None:
    # Given
    kept = ""
    # When
    for duration_us in (5, 1_000, 5, 0):
        kept = one_more(kept, duration_us)
    # Then
    assert counts(kept) == {bucket(0): 1, bucket(5): 2, bucket(1_000): 1}
    assert counts("") == {}


def test_a_percentile_is_within_the_bucket_that_holds_it() -> None:
    # Given a thousand durations that are all different
    kept = ""
    for duration_us in range(1_000, 2_000):
        kept = one_more(kept, duration_us)
    # When
    half, most = percentile(counts(kept), 0.5), percentile(counts(kept), 0.99)
    # Then
    assert half is not None
    assert most is not None
    assert (abs(half - 1_500) < 190, abs(most - 1_990) < 250) == (True, True)
    assert percentile({}, 0.5) is None
