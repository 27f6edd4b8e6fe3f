"""`sleep`: an atom that waits and holds nothing while it does (rules F1, F3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from flowledger.events.errors import DefinitionError

from .backoff import Seconds
from .backoff import duration as checked
from .context import refuse_inside_body
from .definition import TaskDefinition
from .options import TaskOptions
from .parts import Atom
from .plan import Pause
from .source import Place, caller, shown

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sleep(duration: Seconds | datetime) -> Atom[None]:
    """Wait for seconds, a `timedelta`, or until a time (with its time zone). It survives a crash: the due time is
    an event.

    The time runs from when the atom's turn comes, and while the run is suspended, too. A sleep in a scope that fails
    ends at once; the next round sleeps anew.
    """
    place = caller()
    refuse_inside_body("sleep(…)")
    pause = _pause(duration, place)
    return Atom(_definition(pause, place), {}, place)


@lru_cache(maxsize=256)  # a factory is called for each of its runs, and again whenever one is taken up
def _definition(pause: Pause, place: Place) -> TaskDefinition:
    config = msgspec.json.encode({"seconds": pause.seconds, "until_us": pause.until_us})
    return TaskDefinition("sleep", _sleep, TaskOptions(read_only=True), place, config=config, pause=pause)


def _sleep() -> None:
    """What a sleep would be called, if it were."""


def _pause(duration: Seconds | datetime, place: Place) -> Pause:
    if isinstance(duration, datetime):
        if duration.tzinfo is None:
            raise DefinitionError(
                f"sleep(…) at {shown(place)}: {duration} has no time zone", hint="e.g. datetime(2030, 1, 1, tzinfo=UTC)"
            )
        return Pause(until_us=(duration - _EPOCH) // timedelta(microseconds=1))
    return Pause(seconds=checked(duration, f"sleep(…) at {shown(place)}"))
