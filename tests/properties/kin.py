"""What a follower must be told of other runs: those its tasks are (G7), and the one it is a fork of (G6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from flowledger.events.facts import RunForked
from tests.properties.forks import Taken
from tests.properties.model import Model


class End(NamedTuple):
    """How a run has ended, once."""

    status: str
    result: Any


class Child(Protocol):
    """The run that is a task, in one of its tries."""

    @property
    def run_id(self) -> str: ...

    @property
    def ends(self) -> Sequence[End]:
        """All of them, in order: people may run again, or undo, what is over."""
        ...

    @property
    def is_over(self) -> bool: ...

    @property
    def is_adopted(self) -> bool:
        """Whether a fork answers for what it has done."""
        ...


class Kin(Protocol):
    """The runs a run has to do with."""

    def child(self, path: str, try_: int) -> Child | None:
        """The run that this task is, if it has been begun."""
        ...

    def inherited(self, forked: RunForked) -> tuple[Model, Taken]:
        """The source as it was then, and what the fork that was asked for may take over."""
        ...


class Alone:
    """A run that has to do with no other."""

    def child(self, path: str, try_: int) -> Child | None:
        return None

    def inherited(self, forked: RunForked) -> tuple[Model, Taken]:
        raise AssertionError(f"nobody knows run {forked.source}")
