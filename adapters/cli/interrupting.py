"""^C while we drive a run (rule B5): the first suspends it, the second ends the process at once and writes nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from .exits import Exit
from .terminal import say_amid

_SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def interruptible() -> Generator[None]:
    """Within it the first ^C is a `KeyboardInterrupt`, which `App` takes as the wish to suspend."""
    asked = False

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            _exit_at_once()
        asked = True
        say_amid("suspending: what runs may finish, nothing new starts (^C again exits at once)")
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _exit_at_once() -> None:
    if sys.stdout.isatty():  # a tree that was being redrawn has hidden it
        os.write(sys.stdout.fileno(), _SHOW_CURSOR)
    say_amid("interrupted; the run is not lost: `flowledger resume` goes on, tasks that ran count as interrupted")
    os._exit(Exit.INTERRUPTED)
