"""Retries: what a failure in a flow means. Pure: what they answer becomes an event and is never asked again (D6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from flowledger.events.errors import DefinitionError
from flowledger.events.facts import Decision
from flowledger.events.failure import Failure

from .backoff import NO_BACKOFF, Backoff, Seconds
from .backoff import backoff as as_backoff
from .symbols import Symbol

V = TypeVar("V")


@dataclass(frozen=True)
class Try(Generic[V]):
    """One past round: the value it had and the failures that ended it, in plan order."""

    value: V
    failures: tuple[Failure, ...]


class Retry(Symbol[V]):
    """Subclass it for a policy of your own: both methods are pure; what they answer is an event.

    ``provides`` names the value for the atoms of the scope; ``backoff`` is the wait before the next round.
    Instance attributes that start with no underscore are its arguments: they are part of the plan's fingerprint (E8).
    """

    provides: str | None = None
    backoff: Backoff = NO_BACKOFF
    value_type: ClassVar[Any] = Any

    def value(self, history: Sequence[Try[V]]) -> V:
        """The value of the next round; ``history`` holds the rounds so far, oldest first (empty before the first)."""
        raise NotImplementedError

    def on_failure(self, history: Sequence[Try[V]]) -> Decision:
        """What to do now that the last round of ``history`` has failed."""
        raise NotImplementedError


class Times(Retry[int]):
    """Run the scope up to ``executions`` times in all (D6); the value is the number of the round, from 1."""

    value_type = int

    def __init__(
        self,
        executions: int,
        *,
        backoff: Backoff | Seconds = 0,
        provides: str | None = None,
        revert_all: bool = False,
    ) -> None:
        if type(executions) is not int or executions < 1:
            raise DefinitionError(
                f"Times({executions!r}): {executions!r} is not a number from 1", hint="Times(1) runs the scope once"
            )
        self.executions = executions
        self.backoff = as_backoff(backoff)
        self.provides = provides
        self.revert_all = revert_all

    def value(self, history: Sequence[Try[int]]) -> int:
        return len(history) + 1

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        if len(history) < self.executions:
            return "RETRY"
        return "REVERT_ALL" if self.revert_all else "REVERT"
