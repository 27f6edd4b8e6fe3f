"""Processes that run until they are told to stop: SIGTERM or ^C ends them after what they are at."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event
from types import FrameType


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
