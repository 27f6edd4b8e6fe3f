"""Who of a process writes to a file next: whoever has waited longest."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Turns:
    """A lock that is handed on in the order in which it was asked for.

    SQLite lets those who wait for the write lock ask for it again after pauses of up to a tenth of a second. Who
    commits over and over leaves it free for less than a thousandth, so that a heartbeat beside it may wait for longer
    than the process may go without one. A `threading.Lock` would be no better: whoever lets it go is the first to take
    it again.
    """

    def __init__(self) -> None:
        self._looking = Lock()
        self._taken = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._looking:
            if not self._taken:
                self._taken = True
                return
            called = Lock()
            called.acquire()
            self._waiting.append(called)
        called.acquire()

    def __exit__(self, *_: object) -> None:
        with self._looking:
            if self._waiting:
                self._waiting.popleft().release()  # it stays taken: it is theirs now
            else:
                self._taken = False
