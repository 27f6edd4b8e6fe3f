"""How long: durations as users write them, in seconds."""

from __future__ import annotations

from datetime import timedelta

Seconds = float | timedelta

#: What is longer is a mistake: the log counts microseconds in 64 bits, and so does every database below it.
LONGEST_S = 100 * 365.25 * 86_400


def seconds(duration: Seconds) -> float:
    """A duration in seconds, whichever way it was given. It may be negative: who asks knows what that means there.

    Raises:
        ValueError: it is none, or is longer than a hundred years.
    """
    try:
        result = duration.total_seconds() if isinstance(duration, timedelta) else _number(duration)
    except (TypeError, ValueError):
        result = float("nan")
    if not abs(result) <= LONGEST_S:
        raise ValueError(f"{duration!r} is no duration: give seconds or a timedelta, of a hundred years at most")
    return result


def _number(duration: object) -> float:
    if isinstance(duration, str | bytes | bool):
        raise TypeError(duration)
    return float(duration)  # type: ignore[arg-type]  # whatever counts, a Decimal or a number of numpy, too
