"""Runs on a thread of their own, for tests that ask something of a run that is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from flowledger import App, Part, Run
from flowledger.adapters import loading
from flowledger.core.decide import wake_at_us
from flowledger.core.evolve import fold
from flowledger.core.replay import check, check_complete
from flowledger.events.envelope import Envelope

LONG_S = 20.0


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition, as briefly as can be; what it gave."""
    deadline = monotonic() + LONG_S
    while not (found := condition()):
        assert monotonic() < deadline, what or "it never came to be"
        sleep(0.002)
    return found


class Gate:
    """What a body waits at, so that a test knows that it runs."""

    def __init__(self) -> None:
        self.reached = Event()
        self.opened = Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(LONG_S)


class Background:
    """A run that somebody else drives, as far as the test is concerned: on a thread."""

    def __init__(self, app: App, part: Part[Any], key: str) -> None:
        self.error: BaseException | None = None
        self._app = app
        self._key = key
        self._thread = Thread(target=self._drive, args=(part,), daemon=True)
        self._thread.start()

    def _drive(self, part: Part[Any]) -> None:
        try:
            self._app.execute(part, key=self._key)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def run(self) -> Run[Any]:
        found: Run[Any] = until(lambda: next((run for run in self._app.runs() if run.key == self._key), None))
        return found

    @property
    def state(self) -> str:
        """The run's state now."""
        return self.run.state

    def join(self) -> Run[Any]:
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.run


@contextmanager
def background(app: App, part: Part[Any], key: str = "k") -> Iterator[Background]:
    """Have a flow run meanwhile."""
    driven = Background(app, part, key)
    yield driven
    driven.join()


def log(app: App, run: Run[Any]) -> list[Envelope]:
    return loading.read(app.runtime.store, run.id)


def types(app: App, run: Run[Any], *, path: str | None = None) -> list[str]:
    """The events of a run by name, or those at one path."""
    return [e.type for e in log(app, run) if path is None or e.path == path]


def has(app: App, run: Run[Any], type_: str, path: str | None = None) -> bool:
    return type_ in types(app, run, path=path)


def only(app: App, run: Run[Any], type_: str) -> Envelope:
    """The one event of this name."""
    [found] = [e for e in log(app, run) if e.type == type_]
    return found


def check_replay(app: App, part: Part[Any], run: Run[Any]) -> None:
    """The log is valid under today's code, and complete (D8)."""
    plan, envelopes = app.plan(part), log(app, run)
    moved = loading.moved_values(app.runtime.store, run.id, envelopes)
    check_complete(plan, check(plan, envelopes, moved=moved))


def waits_until_us(app: App, part: Part[Any], run: Run[Any]) -> int | None:
    """The earliest due time, as the log says."""
    return wake_at_us(fold(app.plan(part), log(app, run)))
