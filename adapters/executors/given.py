"""Executors that an app is given by name: what `App(executors={…})` takes, checked, and made when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

from flowledger.core.options import given_name
from flowledger.events.errors import DefinitionError

#: An executor, which stays its owner's to shut down; or a function that makes one, or yields it and then cleans up.
Source = Executor | Callable[[], Executor] | Callable[[], Iterator[Executor]]

#: Bodies at once on an executor that does not say how many it has room for.
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Bounded:
    """An executor with the number of bodies that may be handed to it at once: its places, or a few more to queue."""

    executor: Source
    at_once: int


class Made(NamedTuple):
    """A live executor, and how it is closed by whoever made it."""

    executor: Executor
    close: Callable[[], None]


class Given:
    """One executor of an app: its name, where it comes from, how many bodies at once (None: as it says itself)."""

    def __init__(self, name: str, given: Source | Bounded, *, app: str) -> None:
        self.name = given_name(name, f"App({app!r}): executors")
        self.at_once = given.at_once if isinstance(given, Bounded) else None
        self._source = given.executor if isinstance(given, Bounded) else given
        self._where = f"App({app!r}): executors[{name!r}]"
        if not isinstance(self._source, Executor) and not callable(self._source):
            raise DefinitionError(
                f"{self._where}: {self._source!r} is no executor",
                hint="an executor of concurrent.futures, or a function without arguments that makes one",
            )
        if self.at_once is not None and (type(self.at_once) is not int or self.at_once < 1):
            raise DefinitionError(f"{self._where}: at_once={self.at_once!r} is not a number from 1")

    @property
    def is_made_here(self) -> bool:
        """Whether each process makes its own, and can make another."""
        return not isinstance(self._source, Executor)

    def make(self) -> Made:
        """The executor as it was given, or a new one. Blocks as long as its maker does, and raises what that raises.

        Raises:
            DefinitionError: what the function makes is no executor.
        """
        source = self._source
        if isinstance(source, Executor):
            return Made(source, _leave)
        context = copy_context()  # a maker that yields is gone on with in the context it began in, as it must expect
        made = context.run(_called, source)
        if isinstance(made, Executor):
            return Made(made, partial(made.shutdown, wait=False))
        if isinstance(made, Iterator):
            maker = cast("Iterator[object]", made)
            made = context.run(_first, maker)
            if isinstance(made, Executor):
                return Made(made, lambda: context.run(_go_on, maker))
        raise DefinitionError(f"{self._where}: {source!r} has made {made!r}, which is no executor")

    def places(self, executor: Executor) -> int:
        """How many bodies are handed to it at once."""
        found = getattr(executor, "_max_workers", None)  # of the standard library's pools, and of ones made after them
        return self.at_once or (found if isinstance(found, int) else AT_ONCE)


def given_executors(app: str, given: Mapping[str, Source | Bounded] | None) -> dict[str, Given]:
    """By name, checked; nothing is made.

    Raises:
        DefinitionError: a name is taken, or what it stands for is no executor.
    """
    return {name: Given(name, each, app=app) for name, each in (given or {}).items()}


def stays_here(executor: Executor) -> bool:
    """Whether what is handed to it surely stays on this machine, and its futures say whether they have begun."""
    if isinstance(executor, ThreadPoolExecutor):
        return True
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - loads all of multiprocessing

    return isinstance(executor, ProcessPoolExecutor)


def _called(maker: Callable[[], object]) -> object:
    return maker()


def _first(maker: Iterator[object]) -> object:
    return next(maker, None)


def _leave() -> None:
    """It is somebody else's."""


def _go_on(maker: Iterator[object]) -> None:
    with suppress(StopIteration):
        next(maker)
