"""What a running body may know about its attempt, and how the rest knows that a body is running."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flowledger.events.errors import DefinitionError, PlacedInsideTask
from flowledger.events.failure import Failure

from .source import Place, caller, shown

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter


def _never() -> bool:
    return False


def _unheard(_fraction: float, _message: str) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class OtherOutcome:
    """How an attempt ended that had been given up before (C4): what it has made is there, though nobody waited for it.

    ``result`` is None unless it succeeded; one that cannot be read any more is None, too.
    """

    attempt: int
    outcome: Literal["succeeded", "failed"]
    result: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """The attempt a body runs in. Ask for it with an argument annotated `TaskContext`, of any name.

    ``idempotency_key`` changes only when an outcome is known (rule C5): hand it to the outside world.
    ``outcome`` and ``other_outcomes`` are set in a revert only: how execute ended, and what came too late (C4).
    """

    run_id: str
    path: str
    attempt: int
    idempotency_key: str
    deadline: datetime | None
    log: LoggerAdapter[Logger]
    outcome: Literal["succeeded", "failed", "unknown"] | None = None
    other_outcomes: tuple[OtherOutcome, ...] = ()
    # handed in by the engine
    on_progress: Callable[[float, str], None] = _unheard
    is_cancelled: Callable[[], bool] = _never

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the body has got: 0.0 to 1.0 (clamped) and a line for people."""
        self.on_progress(min(1.0, max(0.0, fraction)), message)

    @property
    def cancelled(self) -> bool:
        """Whether the body should stop: its time is up, or its scope is failing (rules C7, D1)."""
        return self.is_cancelled()

    @classmethod
    def current(cls) -> TaskContext:
        """The context of the body this is called in.

        Raises:
            DefinitionError: no body is running here.
        """
        context = RUNNING.get()
        if context is None:
            raise DefinitionError(
                "TaskContext.current() was called outside a running task",
                hint="in a test, make a TaskContext and pass it to the body as an argument",
            )
        return context()


#: The attempt whose body runs here. The engine sets it around each body, in the body's own thread or task;
#: most bodies never ask, so the context is made by the first call.
RUNNING: ContextVar[Callable[[], TaskContext] | None] = ContextVar("flowledger_running", default=None)


def is_inside_body() -> bool:
    """Whether the caller is the body of a task."""
    return RUNNING.get() is not None


@contextmanager
def outside_bodies() -> Generator[None]:
    """Within the block no body counts as running here: what is built then is ours, e.g. the plan of a run that a body
    looks at. Also a decorator."""
    token = RUNNING.set(None)
    try:
        yield
    finally:
        RUNNING.reset(token)


def refuse_inside_body(what: str, place: Place | None = None) -> None:
    """Raise `PlacedInsideTask` where a body is running; ``what`` is what was tried, as the user wrote it."""
    context = RUNNING.get()
    if context is not None:
        line = shown(place or caller(1))
        raise PlacedInsideTask(f"{what} was called while {context().path} is running, at {line}")
