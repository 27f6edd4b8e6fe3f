"""How long to wait before the next attempt. Pure: randomness comes in as a number and the delay is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

Seconds = float | timedelta


def seconds(duration: Seconds) -> float:
    """A duration in seconds, whichever way it was given."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_s * factor ** (n - 1)``, at most ``max_s``, made up to ``jitter`` longer."""

    first_s: float
    factor: float = 1.0
    max_s: float = float("inf")
    jitter: float = 0.0

    def delay_s(self, failures: int, random: float) -> float:
        """The wait after the ``failures``-th failure (from 1); ``random`` is in [0, 1)."""
        try:
            delay = self.first_s * self.factor ** (failures - 1)
        except OverflowError:  # far beyond max_s
            delay = self.max_s
        return min(delay, self.max_s) * (1 + self.jitter * random)


NO_BACKOFF = Backoff(0.0)


def constant(delay: Seconds) -> Backoff:
    """The same wait each time."""
    return Backoff(seconds(delay))


def exponential(first: Seconds = 1, *, factor: float = 2, max: Seconds = 60, jitter: float = 0.1) -> Backoff:  # noqa: A002
    """Waits that grow by ``factor`` up to ``max``, each made up to ``jitter`` (a share) longer."""
    return Backoff(seconds(first), factor, seconds(max), jitter)


def backoff(value: Backoff | Seconds) -> Backoff:
    """What users may write where a back-off is asked for: a `Backoff` or a constant duration."""
    return value if isinstance(value, Backoff) else constant(value)
