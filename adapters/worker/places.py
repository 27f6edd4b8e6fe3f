"""How many attempts a worker makes at once, and which: shared by the thread that claims and the loop that makes."""

from __future__ import annotations

from threading import Condition

from flowledger.core.engine.slots import AHEAD_BODIES, AHEAD_S, FIRST_GUESS_S
from flowledger.events.claims import AttemptKey

_WEIGHT = 1 / 16  # of the last body in the average


class Places:
    """Up to ``capacity`` attempts, and of short ones as many more as end within `AHEAD_S`: a claim takes that long."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._changed = Condition()
        self._taken: set[AttemptKey] = set()
        self._body_s = FIRST_GUESS_S
        self._ahead = 0

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._taken

    @property
    def free(self) -> int:
        """How many may be claimed now."""
        return max(0, self.capacity + self._ahead - len(self._taken))

    def take(self, key: AttemptKey) -> None:
        """This attempt is claimed, or about to be."""
        with self._changed:
            self._taken.add(key)

    def give(self, key: AttemptKey, *, took_s: float | None = None) -> None:
        """It is over, and has taken so long; or it was not granted."""
        with self._changed:
            self._taken.discard(key)
            if took_s is not None:
                self._body_s += (took_s - self._body_s) * _WEIGHT
                self._ahead = round(min(AHEAD_BODIES, self.capacity * AHEAD_S / max(self._body_s, 1e-9)))
            self._changed.notify_all()

    def wait_free(self, timeout_s: float) -> int:
        """Wait for a free place; how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: self.free, timeout_s)
            return self.free

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is made any more; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._taken, timeout_s)

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()
