"""Processes that run until they are told to stop: SIGTERM or ^C ends them after what they are at."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Protocol

from .terminal import say

#: How often a process that waits for its end lets signals in.
_LOOK_S = 0.2


@contextmanager
def told_to_stop() -> Generator[Event]:
    """An event that is set by the first SIGTERM or SIGINT; the second takes its usual way."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


class Drains(Protocol):
    """What ends in its own time."""

    def drain(self) -> None:
        """Begin nothing more, and end once what is under way is over."""
        ...

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it has come."""
        ...


class _Stopped(BaseException):
    """The second signal."""


def until_drained(process: Drains, *, left: Callable[[], str]) -> None:
    """Wait for its end. SIGTERM or ^C drains it, a second one ends the wait: ``left`` says what is left then."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise _Stopped
        asked = True
        process.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        while not process.join(_LOOK_S):
            pass
    except _Stopped:
        say(f"stopped at once: {left()}")
