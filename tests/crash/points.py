"""Which points of a flow's appends are tried: all of them, or a spread that always has the first and the last.

The short form is part of every test run, the long one (`make crash`) leaves nothing out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from flowledger.adapters.failpoint import APPEND_POINTS
from tests.crash.job import Choice, Point

LONG = os.environ.get("FLOWLEDGER_CRASH_CORPUS") == "long"

#: R1: before and after every append. R2: inside it.
BOUNDARIES = ("append.before_begin", "append.after_ack")
INSIDE = tuple(point for point in APPEND_POINTS if point not in BOUNDARIES)

#: The short form tries all boundaries of flows with at most so many appends, and so many of the larger ones.
SMALL = 7
SAMPLES = 5
SAMPLES_INSIDE = 2


def boundaries(appends: int) -> list[Point]:
    """The points of R1."""
    chosen = every(appends) if LONG or appends <= SMALL else spread(appends, SAMPLES)
    return [Point(name, n) for n in chosen for name in BOUNDARIES]


def inside(appends: int) -> list[Point]:
    """The points of R2."""
    chosen = every(appends) if LONG else spread(appends, SAMPLES_INSIDE)
    return [Point(name, n) for n in chosen for name in INSIDE]


def few(appends: int) -> list[Point]:
    """Some points where the number of appends depends on the schedule: they need not all be reached."""
    chosen = every(appends) if LONG else spread(appends, 4)
    return [Point(name, n) for n in chosen for name in ("append.before_commit", "append.after_ack")]


CHOICES: Mapping[Choice, Callable[[int], list[Point]]] = {"boundaries": boundaries, "inside": inside, "few": few}


def every(appends: int) -> list[int]:
    return list(range(1, appends + 1))


def spread(appends: int, samples: int) -> list[int]:
    """About so many of 1..appends, evenly."""
    step = max(1, (appends - 1) / max(1, samples - 1))
    return sorted({min(appends, 1 + round(i * step)) for i in range(samples)})
