"""What bodies of tasks raise to say something, and what is no error of ours: imported from `events.errors`.

Their full names stand in logs that were written when they were defined there, and stay what they are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from .durations import seconds

_MODULE: Final = "flowledger.events.errors"


class NotReady(Exception):
    """Raised by a task that polls: call me again in ``retry_after`` seconds (rule F2).

    Raises:
        ValueError: that is no duration; out of a body it is a failure like any other.
    """

    __module__ = _MODULE

    def __init__(self, message: str = "", *, retry_after: float | timedelta = 5) -> None:
        super().__init__(message)
        self.retry_after_s = seconds(retry_after)


class Permanent(Exception):
    """Raised by a task: no further attempts, ask the retry at once."""

    __module__ = _MODULE


class Hold(Exception):
    """Raised by a task: a person must look. The run is suspended until `resolve` says what became of it (rule G3)."""

    __module__ = _MODULE
