"""The projector inside a process that drives runs: it may be late, it may never be in the way.

Folding is Python, so while it goes on the engine has to wait for its turn again and again. Therefore:

- a process that lives for less than `FIRST_S` seconds never folds at all, and loads nothing for it;
- while runs go on, batches are small and take `DUTY` of the time, so that a run is slowed by no more than that;
- only what this process has appended wakes it: an idle process asks the database nothing. It is otherwise where
  somebody is to be told of what happens in the log (`watch`): then it looks every second;
- views are beside the log, so appends wait for no lock of ours, and commits here do not wait for the disk.

What it has not taken in when the process ends is taken in by whoever reads next (`Views.catch_up`), or by a
`flowledger projector`, if one runs; then this one finds nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread, current_thread
from time import perf_counter
from typing import TYPE_CHECKING, Final

from flowledger.events.errors import FlowledgerError, StoreError
from flowledger.events.store import Store
from flowledger.projections.projection import Projection

if TYPE_CHECKING:
    from .together import Together

#: From the start of the process to the first batch, and from one look to the next while nothing happens.
FIRST_S: Final = 1.0
LOOK_S: Final = 1.0
#: How much of the time folding may take while runs go on.
DUTY: Final = 0.05
#: Events of a batch while runs go on, and while none does.
SMALL: Final = 200
LARGE: Final = 2_000
#: While another process is the one that projects, and after an error.
STAND_BY_S: Final = 2.0
PAUSE_S: Final = 10.0

#: No activity there ever was: whoever has seen this looks again.
_HELD: Final = -1

_LOG: Final = logging.getLogger("flowledger.projector")


class EmbeddedProjector:
    """A thread that keeps the views of a store up to date while this process writes to it. Begun by `start`.

    Args:
        store: the log.
        projections: what to fold it into.
        activity: a number that grows with each event this process has appended.
    """

    def __init__(self, store: Store, projections: Sequence[Projection], activity: Callable[[], int]) -> None:
        self._store = store
        self._projections = projections
        self._activity = activity
        self._changed: Callable[[], None] | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, name="flowledger-projector", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def watch(self, changed: Callable[[], None]) -> None:
        """From now on take in also what other processes append; ``changed`` is called on the thread when views moved.

        Begins it where it has not begun.
        """
        self._changed = changed
        if not self._thread.ident:
            self._thread.start()

    def close(self) -> None:
        """Stop after the batch under way."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not current_thread():
            self._thread.join(PAUSE_S)

    def _run(self) -> None:
        together: Together | None = None
        seen = 0
        pause_s = FIRST_S
        try:
            while not self._stop.wait(pause_s):
                if self._activity() == seen and self._changed is None:
                    continue
                try:
                    together = together or self._opened()
                    seen, pause_s = self._follow(together), LOOK_S
                except StoreError as error:
                    _LOG.info("views are not kept up to date from here for now: %s", error.message)
                    pause_s = PAUSE_S
        except FlowledgerError as error:
            _LOG.warning("views are not kept up to date from here: %s", error.message)
        finally:
            if together is not None:
                together.close()

    def _opened(self) -> Together:
        from .together import Together  # noqa: PLC0415 - loaded by processes that live long enough

        return Together.over(self._store, self._projections)

    def _follow(self, together: Together) -> int:
        """Fold until there is nothing left; the activity up to which everything has been taken in, `_HELD` if the log
        does not give out all of it yet (H2)."""
        limit, sure = SMALL, False
        while True:
            before = self._activity()
            began = perf_counter()
            done = together.round(limit=limit)
            took_s = perf_counter() - began
            if not done.events and not done.waits:
                if sure or self._changed is not None:  # who watches looks again anyway
                    return before
                if self._store.hidden() is not None:
                    return _HELD
                sure = True  # after one more round: what was hidden from this one may show by now
                continue
            sure = False
            if self._changed is not None:
                self._changed()
            busy = self._activity() != before
            limit = SMALL if busy else LARGE
            if self._stop.wait(STAND_BY_S if not done.events else took_s * (1 / DUTY - 1) if busy else 0.0):
                return before
