"""Durations in buckets: small enough to keep for years, exact enough for percentiles (within 12.5 %).

Whole numbers only, so that every machine puts a duration into the same bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

HOUR_US: Final = 3_600_000_000

_JSON: Final = msgspec.json.Encoder()
_COUNTS: Final = msgspec.json.Decoder(dict[int, int])
_FINE = 3  # the binary digits that tell buckets apart: four buckets to each doubling


def bucket(duration_us: int) -> int:
    """The bucket of a duration: its highest binary digit and the two after it."""
    value = max(0, duration_us)
    digits = value.bit_length()
    return value if digits < _FINE else digits * 4 + ((value >> (digits - _FINE)) & 3)


def bounds(number: int) -> tuple[int, int]:
    """The durations of a bucket: from (included), to (excluded)."""
    if number < 1 << (_FINE - 1):
        return number, number + 1
    digits, rest = divmod(number, 4)
    width = 1 << (digits - _FINE)
    return (4 + rest) * width, (5 + rest) * width


def counts(kept: str) -> dict[int, int]:
    """How many durations fell into each bucket, from what `one_more` made; "" is none."""
    return _COUNTS.decode(kept) if kept else {}


def one_more(kept: str, duration_us: int) -> str:
    """The counts with a duration more, as they are kept."""
    found, number = counts(kept), bucket(duration_us)
    found[number] = found.get(number, 0) + 1
    return _JSON.encode(found).decode()


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The duration (in microseconds) that a share (0 to 1) of all counted does not exceed; None where none is."""
    total = sum(counts.values())
    if not total:
        return None
    wanted = share * total
    seen = 0
    for number in sorted(counts):
        many = counts[number]
        if seen + many >= wanted:
            low, high = bounds(number)
            return low + round((high - low) * max(0.0, wanted - seen) / many)
        seen += many
    raise AssertionError  # the last bucket holds what is left
