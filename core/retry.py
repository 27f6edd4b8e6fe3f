"""Retries: what a failure in a flow means. Pure: what they answer becomes an event and is never asked again (D6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar, get_type_hints

from flowledger.events.errors import DefinitionError
from flowledger.events.facts import Decision
from flowledger.events.failure import Failure

from .backoff import NO_BACKOFF, Backoff, Seconds, as_backoff, duration
from .symbols import Symbol

V = TypeVar("V")


@dataclass(frozen=True)
class Try(Generic[V]):
    """One past round: the value it had and the failures that ended it, in plan order.

    ``ended_s`` is when that was: seconds since the first round began, less what the run was suspended.
    """

    value: V
    failures: tuple[Failure, ...]
    ended_s: float = 0.0


def _returned(method: Callable[..., Any]) -> Any:
    """What a method says it returns; Any where it does not say, or says it with a type variable."""
    try:
        annotation = get_type_hints(method).get("return", Any)
    except NameError:
        return Any
    return Any if isinstance(annotation, TypeVar) else annotation


class Retry(Symbol[V]):
    """Subclass it for a policy of your own: both methods are pure; what they answer is an event.

    ``provides`` names the value for the atoms of the scope; ``backoff`` is the wait before the next round.
    Instance attributes that start with no underscore are its arguments: they are part of the plan's fingerprint (E8).
    One that is a symbol (a bound part, ``symbol("zones")``) is that symbol's value when the methods are called.
    """

    provides: str | None = None
    backoff: Backoff = NO_BACKOFF
    value_type: ClassVar[Any] = Any  # what `value` is annotated to return, where it says

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "value_type" not in vars(cls) and "value" in vars(cls):
            cls.value_type = _returned(cls.value)

    def value(self, history: Sequence[Try[V]]) -> V:
        """The value of the next round; ``history`` holds the rounds so far, oldest first (empty before the first)."""
        raise NotImplementedError

    def on_failure(self, history: Sequence[Try[V]]) -> Decision:
        """What to do now that the last round of ``history`` has failed."""
        raise NotImplementedError

    def symbols(self) -> dict[str, Symbol[Any]]:
        """The arguments that are known only at run time."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Symbol)}

    def knowing(self, values: Mapping[str, Any]) -> Self:
        """A copy with ``values`` in place of the symbols."""
        known = copy(self)
        vars(known).update(values)
        return known


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
        self.backoff = as_backoff(backoff, "Times(…)")
        self.provides = provides
        self.revert_all = revert_all

    def value(self, history: Sequence[Try[int]]) -> int:
        return len(history) + 1

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        if len(history) < self.executions:
            return "RETRY"
        return _gives_up(self.revert_all)


class TryEach(Retry[V]):
    """Run the scope with one value after the other until one succeeds (TaskFlow's ForEach).

    ``values`` is a collection, or a symbol that will be one. A value that stands twice is tried twice; with no value
    at all the retry fails.
    """

    def __init__(
        self,
        values: Iterable[V] | Symbol[Iterable[V]],
        *,
        backoff: Backoff | Seconds = 0,
        provides: str | None = None,
        revert_all: bool = False,
    ) -> None:
        self.values: Any = values if isinstance(values, Symbol) else _collection(values)
        self.backoff = as_backoff(backoff, "TryEach(…)")
        self.provides = provides
        self.revert_all = revert_all

    def value(self, history: Sequence[Try[V]]) -> V:
        values: list[V] = list(self.values)
        if len(history) >= len(values):
            raise ValueError("TryEach has no value to try")
        return values[len(history)]

    def on_failure(self, history: Sequence[Try[V]]) -> Decision:
        return "RETRY" if len(history) < len(list(self.values)) else _gives_up(self.revert_all)


class Deadline(Retry[int]):
    """Run the scope again until ``seconds`` have passed since its first round began; the value is the round's number.

    The time is asked for when a round has failed: a round that is under way is left to end.
    """

    value_type = int

    def __init__(
        self,
        seconds: Seconds,
        *,
        backoff: Backoff | Seconds = 0,
        provides: str | None = None,
        revert_all: bool = False,
    ) -> None:
        self.seconds = duration(seconds, "Deadline(…)")
        self.backoff = as_backoff(backoff, "Deadline(…)")
        self.provides = provides
        self.revert_all = revert_all

    def value(self, history: Sequence[Try[int]]) -> int:
        return len(history) + 1

    def on_failure(self, history: Sequence[Try[int]]) -> Decision:
        return "RETRY" if history[-1].ended_s < self.seconds else _gives_up(self.revert_all)


class AlwaysRevert(Retry[None]):
    """Never run the scope again: what failed is the business of the scope around it."""

    value_type = type(None)

    def value(self, history: Sequence[Try[None]]) -> None:
        return None

    def on_failure(self, history: Sequence[Try[None]]) -> Decision:
        return "REVERT"


class AlwaysRevertAll(AlwaysRevert):
    """A failure in here undoes the whole run, whatever the retries around it would say."""

    def on_failure(self, history: Sequence[Try[None]]) -> Decision:
        return "REVERT_ALL"


def _collection(values: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(
            f"TryEach({values!r}): {values!r} is not a list of values", hint='e.g. TryEach(["eu-1", "eu-2"])'
        )
    return tuple(values)


def _gives_up(revert_all: bool) -> Decision:
    return "REVERT_ALL" if revert_all else "REVERT"
