"""How many bodies may run at once in one lane, shared among all runs of a process (C1: a start needs a slot)."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """A counter with a queue: a run that found none is woken, first come first served, when one is free."""

    __slots__ = ("_waiting", "free")

    def __init__(self, capacity: int) -> None:
        self.free = capacity
        self._waiting: dict[object, Callable[[], None]] = {}

    def take(self) -> bool:
        """Take a slot if there is one."""
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    def give(self) -> None:
        """Give a slot back and wake whoever waits longest."""
        self.free += 1
        self.pass_on()

    def pass_on(self) -> None:
        """Wake the next in line, if there is a slot for it. One woken who needs none must pass on."""
        if self.free > 0 and self._waiting:
            who = next(iter(self._waiting))
            self._waiting.pop(who)()

    def wait(self, who: object, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when a slot is free (once; asking again keeps the place in the queue)."""
        self._waiting.setdefault(who, wake)

    def forget(self, who: object) -> None:
        """``who`` waits no more."""
        self._waiting.pop(who, None)
