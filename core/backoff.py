"""How long to wait before the next attempt. Pure: randomness comes in as a number and the delay is recorded."""

from __future__ import annotations

from dataclasses import dataclass

from flowledger.events.durations import LONGEST_S
from flowledger.events.durations import Seconds as Seconds  # noqa: PLC0414 - here is where people import it from
from flowledger.events.durations import seconds as seconds  # noqa: PLC0414
from flowledger.events.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_s * factor ** (n - 1)``, at most ``max_s``, made up to ``jitter`` longer.

    Raises:
        DefinitionError: a number that makes no sense.
    """

    first_s: float
    factor: float = 1.0
    max_s: float = float("inf")
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.first_s <= LONGEST_S and self.factor > 0 and self.max_s >= 0 and self.jitter >= 0):
            raise DefinitionError(
                f"there is no such back-off: {self}",
                hint="waits and jitter are 0 or more (a wait of 0 seconds is no wait), and a factor is above 0",
            )

    def delay_s(self, failures: int, random: float) -> float:
        """The wait after the ``failures``-th failure (from 1); ``random`` is in [0, 1)."""
        try:
            delay = self.first_s * self.factor ** (failures - 1)
        except OverflowError:  # far beyond max_s
            delay = self.max_s
        return min(min(delay, self.max_s) * (1 + self.jitter * random), LONGEST_S)


NO_BACKOFF = Backoff(0.0)


def constant(delay: Seconds) -> Backoff:
    """The same wait each time.

    Raises:
        DefinitionError: it is no duration, or negative.
    """
    return Backoff(duration(delay, "constant(…)"))


def exponential(first: Seconds = 1, *, factor: float = 2, max: Seconds = 60, jitter: float = 0.1) -> Backoff:  # noqa: A002
    """Waits that grow by ``factor`` up to ``max``, each made up to ``jitter`` (a share) longer.

    Raises:
        DefinitionError: a number that makes no sense.
    """
    where = "exponential(…)"
    limit_s = float("inf") if max == float("inf") else duration(max, f"{where}: max")
    return Backoff(duration(first, f"{where}: first"), factor, limit_s, jitter)


def as_backoff(value: Backoff | Seconds, where: str) -> Backoff:
    """What users may write where a back-off is asked for: a `Backoff` or a constant duration; ``where`` names the
    place for the error.

    Raises:
        DefinitionError: it is neither.
    """
    return value if isinstance(value, Backoff) else Backoff(duration(value, f"{where}: backoff"))


def duration(value: Seconds, where: str) -> float:
    """``value`` in seconds; ``where`` names what it is for the error.

    Raises:
        DefinitionError: it is no duration, or is negative.
    """
    try:
        result = seconds(value)
    except ValueError as error:
        raise DefinitionError(f"{where}: {value!r} is no duration", hint=DURATIONS) from error
    if result < 0:
        raise DefinitionError(f"{where}: {value!r} is no duration: it is negative", hint=DURATIONS)
    return result


DURATIONS = "seconds or a timedelta, of a hundred years at most"
