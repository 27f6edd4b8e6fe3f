"""What a generated flow is: a tree of tasks and flows with a script of what each body will do.

Names are unique in the whole tree, so a name stands for its part. ``takes`` names parts whose results a task asks for
(always parts that precede it), ``retry:FLOW`` for the value of the retry around it, or ``input:NAME`` for what the run
was asked for with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from typing import Literal

Pattern = Literal["linear", "unordered", "graph"]
Ends = Literal["ok", "raise", "permanent", "hold"]

#: What every run is asked for with: the first is found by name, the other is handed to the tasks as a value.
INPUTS = ("input:x", "input:y")


class Short:
    """A dataclass whose repr leaves defaults out: what hypothesis finds can be read, and pasted as it is."""

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"


@dataclass(frozen=True, repr=False)
class Attempt(Short):
    """What one attempt of an execute does: says not ready ``polls`` times, then ends."""

    ends: Ends = "ok"
    polls: int = 0


OK = Attempt()
RAISE = Attempt("raise")


@dataclass(frozen=True, repr=False)
class Task(Short):
    """``script[n]`` rules the n-th attempt of the whole run (then `OK`), ``revert[n]`` says if revert n raises."""

    name: str
    script: tuple[Attempt, ...] = ()
    attempts: int = 1
    revert: tuple[bool, ...] | None = ()  # None: the task has no revert
    revert_attempts: int = 1
    read_only: bool = False
    takes: tuple[str, ...] = ()
    backoff_s: float = 0.0  # before a further attempt, of execute and of revert
    sleep_s: float | None = None  # it is no task but a sleep
    signal: str = ""  # it is no task but a wait for this signal
    timeout_s: float | None = None  # of that wait
    on_interrupt: Literal["rerun", "fail", "hold"] = "rerun"
    transactional: bool = False  # what it writes and its outcome are one commit, and so with its revert (C8)
    child: Spec | None = None  # it is no task but a run of its own, asked for with what it takes (G7)

    @property
    def has_body(self) -> bool:
        """Whether anything is called, and may have to be undone."""
        return self.sleep_s is None and not self.signal

    def attempt(self, n: int) -> Attempt:
        return self.script[n] if n < len(self.script) else OK

    def revert_raises(self, n: int) -> bool:
        return self.revert is not None and n < len(self.revert) and self.revert[n]


@dataclass(frozen=True, repr=False)
class Flow(Short):
    """``links`` (graph only) join children by index, before → after; ``retry`` is the n of ``Times(n)``.

    ``late``: the flow is made while the run is under way (E7), which must make no difference to what is done.
    """

    name: str
    pattern: Pattern
    children: tuple[Part, ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    retry: int | None = None
    revert_all: bool = False
    backoff_s: float = 0.0  # before another round
    late: bool = False

    @cached_property
    def within(self) -> tuple[Part, ...]:
        """The flow and all below it, in plan order: the model asks for it at every step."""
        below = (child.within if isinstance(child, Flow) else (child,) for child in self.children)
        return (self, *chain.from_iterable(below))

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Its tasks, likewise."""
        return tuple(part for part in self.within if isinstance(part, Task))


Part = Task | Flow


@dataclass(frozen=True, repr=False)
class Spec(Short):
    """A root flow and what its failure means."""

    root: Flow
    on_failure: Literal["revert", "stop"] = "revert"


def walk(part: Part) -> Iterator[Part]:
    """The part and all below it, in plan order."""
    return iter(part.within if isinstance(part, Flow) else (part,))


def tasks(part: Part) -> Iterator[Task]:
    """The tasks of a part, in plan order."""
    return iter(part.tasks if isinstance(part, Flow) else (part,))


def children(spec: Spec) -> Iterator[Task]:
    """The tasks that are runs of their own, also those of these runs."""
    for task in tasks(spec.root):
        if task.child is not None:
            yield task
            yield from children(task.child)


def closed(flow: Flow, root: Flow) -> bool:
    """Whether no task outside a flow takes what is inside it: only then may it be made late (E7)."""
    inside = {part.name for part in walk(flow)} - {flow.name}
    return not any(taken in inside for task in tasks(root) if task.name not in inside for taken in task.takes)


def value_of(name: str, attempt: int, arguments: object) -> int:
    """What a task returns from its ``attempt``-th attempt of the run, given these arguments."""
    return zlib.crc32(repr((name, attempt, arguments)).encode())


def waits(spec: Spec) -> bool:
    """Whether anything in it polls: then the order among concurrent parts depends on time."""
    return any(attempt.polls for task in tasks(spec.root) for attempt in task.script)
