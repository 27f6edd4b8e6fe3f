"""The part of an app that others listen to: in-process notifications of what its runs do."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from flowledger.core.registry import Registry
from flowledger.events.facts import Event

from .listening import EventListener, Listeners, ProgressListener, event_types

L = TypeVar("L", bound=EventListener)
P = TypeVar("P", bound=ProgressListener)


class Listened(Registry):
    """A registry whose runs tell listeners what happens to them."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.listeners = Listeners()

    @overload
    def listen(self, listener: L, /) -> L: ...  # type: ignore[overload-overlap]
    @overload
    def listen(self, *events: str | type[Event]) -> Callable[[L], L]: ...
    def listen(self, *given: Any) -> Any:
        """Have a function told of every event of the runs this process drives: `@app.listen`, or of some of them:
        `@app.listen("TaskFailed", "RevertFailed")`.

        It is given the `Envelope`, once that is durable, in the order of the run's log, on a thread of its own; an
        async function is awaited there. Whatever it does, no run waits for it or hears of it: what it raises is
        logged, and one that falls behind by 10,000 events misses the oldest (`flowledger.listeners` logs how many).
        `App.close` gives it 2 s to hear the rest. Gives the function back unchanged.

        Raises:
            InputError: there is no event of this name.
            IllegalRequest: the function listens already.
        """
        if len(given) == 1 and callable(given[0]) and not isinstance(given[0], type):
            self.listeners.add(given[0], ())
            return given[0]

        event_types(given)  # a wrong name is refused at its line

        def register(listener: L) -> L:
            self.listeners.add(listener, given)
            return listener

        return register

    def listen_progress(self, listener: P) -> P:
        """Have a function told what bodies say of how far they have got (`TaskContext.progress`): a `Progress` each.

        As `listen` otherwise. Progress is no event: nothing of it is kept.

        Raises:
            IllegalRequest: the function listens already.
        """
        self.listeners.add_progress(listener)
        return listener

    def unlisten(self, listener: Callable[..., object]) -> None:
        """Tell a function no more.

        Raises:
            IllegalRequest: it does not listen.
        """
        self.listeners.remove(listener)

    @contextmanager
    def listening(self, listener: L, *events: str | type[Event]) -> Generator[L]:
        """Within the block, ``listener`` is told of these events (none named: of all); it has heard what happened in
        the block when that is left, if it takes no longer than 2 s."""
        self.listeners.add(listener, events)
        try:
            yield listener
        finally:
            self.listeners.drain(listener=listener)
            self.listeners.remove(listener)
