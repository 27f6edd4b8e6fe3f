"""What goes wrong, and how often: all of it from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass
class Faults:
    """Chances per occasion. `none` is what holds once the faults have stopped."""

    crash_at_append: float = 0.0  # before it is sent, or after it is stored, or before its answer is heard
    lost_request: float = 0.0
    lost_answer: float = 0.0
    sent_twice: float = 0.0
    away: float = 0.0  # the store, for this read or this append
    stand_still: float = 0.0  # at a look around
    suspend: float = 0.0  # at a look around
    mail: float = 0.0  # at a look around, somebody asks for something, perhaps twice
    signal: float = 0.0  # at a look around, somebody sends one, whether it is waited for or not
    resolve: float = 0.0  # at a look around, somebody says what became of an attempt, whether it is held or not
    again: float = 0.0  # the same call is made again, elsewhere, at a look around
    fork: float = 0.0  # at a look around, somebody forks a run, over or not
    slow_s: float = 0.001  # an append or a body takes up to this

    @classmethod
    def none(cls) -> Faults:
        return cls()

    @classmethod
    def drawn(cls, chance: Random) -> Faults:
        """Another mixture in each world: where everything fails at once, much is never reached."""

        def some(most: float) -> float:
            return chance.random() * most if chance.random() < 0.6 else 0.0

        return cls(
            crash_at_append=some(0.1),
            lost_request=some(0.2),
            lost_answer=some(0.2),
            sent_twice=some(0.2),
            away=some(0.1),
            stand_still=some(0.2),
            suspend=some(0.3),
            again=some(0.3),
            mail=some(0.3),
            signal=some(0.4),
            resolve=some(0.15),
            fork=some(0.1),
            slow_s=chance.choice([0.001, 0.1, 2.0, 30.0]),
        )
