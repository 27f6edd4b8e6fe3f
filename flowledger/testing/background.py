"""A run that goes on while the test does something else: lets time pass, sends a signal, asks it to stop."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

from flowledger.adapters.app import App
from flowledger.adapters.run import Run
from flowledger.core.parts import Part
from flowledger.events.envelope import Envelope

T = TypeVar("T")

PATIENCE_S = 10.0


class InBackground(Generic[T]):
    """A run driven on a thread of its own. ``events`` is what it has appended so far."""

    def __init__(self, app: App, part: Part[T], options: dict[str, Any]) -> None:
        self.events: list[Envelope] = []
        self._changed = Condition()
        self._run: Run[T] | None = None
        self._error: BaseException | None = None
        self._over = False
        self._thread = Thread(target=self._drive, args=(app, part, options), name="test-run", daemon=True)
        self._thread.start()

    def wait_for(self, event: str, path: str | None = None, *, nth: int = 1, timeout_s: float = PATIENCE_S) -> Envelope:
        """The nth event of this name (of this path, or one that ends in it), once it is durable.

        Raises:
            AssertionError: the run is over, or ``timeout_s`` (real seconds) have passed, without it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self._found(event, path)) >= nth, timeout_s)
            found = self._found(event, path)
            if len(found) >= nth:
                return found[nth - 1]
            story = ", ".join(f"{e.type} {e.path}".strip() for e in self.events[-20:])
        raise AssertionError(f"no {event}{f' of {path}' if path else ''} within {timeout_s:g} s; there was: {story}")

    def join(self, timeout_s: float = PATIENCE_S) -> Run[T]:
        """The run, once it has ended or is suspended; raises what it raised.

        Raises:
            TimeoutError: it goes on after ``timeout_s`` (real seconds).
        """
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if self._run is None:
            raise TimeoutError(f"the run has not ended within {timeout_s:g} s")
        return self._run

    def _found(self, event: str, path: str | None) -> list[Envelope]:
        return [
            e
            for e in self.events
            if e.type == event and (path is None or e.path == path or e.path.endswith(f"/{path}"))
        ]

    def _drive(self, app: App, part: Part[T], options: dict[str, Any]) -> None:
        try:
            self._run = app.execute(part, observe=self._observe, **options)
        except BaseException as error:  # noqa: BLE001 - it is the caller's: `join` raises it
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _observe(self, envelopes: Sequence[Envelope]) -> None:
        with self._changed:
            self.events.extend(envelopes)
            self._changed.notify_all()


def in_background(app: App, part: Part[T], **options: Any) -> InBackground[T]:
    """Start `App.execute` (the options of `App.run`, without ``check``) on a thread, and go on."""
    return InBackground(app, part, options)
