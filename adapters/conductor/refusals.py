"""Jobs this process could not take up: left to others for a while, longer each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic

FIRST_S = 5.0
LONGEST_S = 300.0
#: A claim names them all: of more, the ones that are looked at again soonest are dropped.
MOST = 1_000


class Refusals:
    """Run ids with the time from which on they may be claimed again."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._until: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}

    def add(self, run_id: str) -> float:
        """Leave the run alone; for how many seconds."""
        pause_s = min(2 * self._pause_s.get(run_id, FIRST_S / 2), LONGEST_S)
        self._pause_s[run_id] = pause_s
        self._until[run_id] = self._now() + pause_s
        if len(self._until) > MOST:
            self.drop(min(self._until, key=self._until.__getitem__))
        return pause_s

    def drop(self, run_id: str) -> None:
        """It could be taken up, or somebody else has it."""
        self._until.pop(run_id, None)
        self._pause_s.pop(run_id, None)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._until

    def now(self) -> Sequence[str]:
        """The runs to leave alone at this moment. May be asked from any thread."""
        now = self._now()
        return [run_id for run_id, until in list(self._until.items()) if until > now]

    def next_s(self) -> float:
        """In how many seconds the next of them may be claimed again; infinite: none. From any thread, too."""
        now = self._now()
        return min((until - now for until in list(self._until.values()) if until > now), default=inf)
