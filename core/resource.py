"""Resources: live objects handed to tasks by name, never written down."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from typing_extensions import TypeVar

from .definition import Around
from .signature import EMPTY, Signature, check_shape, signature
from .source import Place, shown
from .symbols import Symbol

T = TypeVar("T", default=Any)

Lifetime = Literal["process", "run"]
Kind = Literal["function", "coroutine", "generator", "async_generator"]

_YIELDING: tuple[Any, ...] = (Iterator, AsyncIterator, Generator, AsyncGenerator)


class Override:
    """A value that stands in for a resource while a test runs."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Resource(Symbol[T]):
    """A live object by name. ``make`` is called when it is first needed; a generator is closed at the end.

    ``scope`` says how long it lives: as long as the process's engine, or one run. ``kind`` says how ``make`` is called.
    """

    def __init__(
        self, name: str, make: Callable[..., Any], scope: Lifetime, place: Place, around: Around | None = None
    ) -> None:
        self.name = name
        self.make = make
        self.scope: Lifetime = scope
        self.place = place
        self.kind = _kind(make)
        self.needs = tuple(
            p.name for p in check_shape(make, f"resource {name} ({shown(place)})", variable_keywords=False)
        )
        self._around = around
        # Seen by all threads: bodies run in the engine's. append and remove of a list are atomic, no lock is needed.
        self._overrides: list[Override] = []

    def __repr__(self) -> str:
        return f"<resource {self.name}>"

    @property
    def where(self) -> str:
        """For messages: the name and the line."""
        return f"{self.name} ({shown(self.place)})"

    @contextmanager
    def override(self, value: T) -> Generator[T]:
        """While this is open, everybody gets ``value`` instead; nothing is made or closed. For tests."""
        standing = Override(value)
        self._overrides.append(standing)
        try:
            yield value
        finally:
            self._overrides.remove(standing)

    @property
    def overridden(self) -> Override | None:
        """The innermost override, or None."""
        standing = self._overrides[-1:]
        return standing[0] if standing else None

    @cached_property
    def signature(self) -> Signature:
        """What ``make`` asks for: other resources, by name."""
        return signature(self.make, self.name, self.place, self._around)

    @cached_property
    def annotation(self) -> Any:
        """The type of the object, as far as it is said."""
        returns = self.signature.returns
        if returns is EMPTY:
            return Any
        if get_origin(returns) in (*_YIELDING, Coroutine):
            arguments = get_args(returns)
            return arguments[-1] if get_origin(returns) is Coroutine else arguments[0]
        return returns


def _kind(make: Callable[..., Any]) -> Kind:
    if inspect.isasyncgenfunction(make):
        return "async_generator"
    if inspect.isgeneratorfunction(make):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(make) else "function"
