"""Crashes where a test wants them: the process is as good as gone at that very append, and the log stays."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from difflib import get_close_matches

from flowledger.adapters.app import App
from flowledger.adapters.runtime import Runtime
from flowledger.core.ports import Appender
from flowledger.events.errors import Fenced
from flowledger.events.facts import EVENTS, Event
from flowledger.events.store import Append, Appended, AppendResult

NAMES = tuple(cls.__name__ for cls in EVENTS)
#: So many paths are named where none of them was the one that was meant.
SHOWN = 20


class Crashed(Fenced):
    """The engine was made to crash here. A test sees it only where it looks inside the block."""


class Crash:
    """A crash that is to happen. ``run_id``: of the run that met it, once it has."""

    def __init__(self, where: str, at: Callable[[Append], bool], *, before: bool) -> None:
        self.where = where
        self.run_id: str | None = None
        self.before = before
        self.at = at

    @property
    def happened(self) -> bool:
        """Whether the point was reached."""
        return self.run_id is not None


@contextmanager
def crash_at(
    app: App, event: str | type[Event], path: str | None = None, *, nth: int = 1, before: bool = False
) -> Generator[Crash]:
    """Within the block, the app's process crashes when a run of it appends ``event``; then the block is left.

    Args:
        app: its log must outlive the crash: `in_memory`, ``memory://NAME``, a file, a database.
        event: the class of the event, or its name: ``"TaskSucceeded"``.
        path: only of this atom or scope; the end of a path is enough: ``"charge"``.
        nth: the how manieth such append. Atoms that end side by side share appends: there are fewer than events.
        before: crash before the event is durable: what it tells of has happened, and nobody knows. Otherwise just
            after, before anything follows from it.

    Nothing is appended, started or answered after that, and the app is closed; the next `App.run` with the same
    ``key=`` (or `Run.resume`) takes the run up as another process would. Bodies in threads cannot be stopped: they end
    unheard.

    Raises:
        AssertionError: the block has ended and there was no such event.
        ValueError: there is no event of this name.
    """
    name = _known(event)
    seen: dict[str, int] = {}
    left = nth

    def at(request: Append) -> bool:
        fits = [e for e in request.events if e.type == name and _fits(e.path, path)]
        seen.update((e.path or "the run", 0) for e in request.events if e.type == name)
        nonlocal left
        left -= bool(fits)
        return bool(fits) and left == 0

    of = f" of {path}" if path else ""
    crash = Crash(f"{'before' if before else 'after'} {name}{of}", at, before=before)
    with crashing(app, crash):
        yield crash
    if not crash.happened:
        raise AssertionError(
            f"the block ended without a crash {crash.where}; {name} was appended for {_few(list(seen))}"
        )


@contextmanager
def crashing(app: App, crash: Crash) -> Generator[None]:
    """Within the block, let ``crash`` happen to what the app runs; `Crashed` goes no further, and the app is closed."""
    if app.settings.database_url == "memory://":
        raise ValueError("a log in memory:// ends with its process: name it, memory://NAME, or use in_memory(app)")
    runtime = app.runtime
    runtime.intercept(lambda appender: _Crashing(appender, runtime, crash))
    try:
        yield
    except Crashed:
        pass
    finally:
        app.close()


class _Crashing:
    """Stands before the appender until the crash, and for nothing after it."""

    def __init__(self, appender: Appender, runtime: Runtime, crash: Crash) -> None:
        self._appender = appender
        self._runtime = runtime
        self._crash = crash

    def append(self, request: Append, done: Callable[[AppendResult], None]) -> None:
        if self._crash.happened:
            done(self._error())
        elif not self._crash.at(request):
            self._appender.append(request, done)
        elif self._crash.before:
            self._die(request)
        else:
            self._appender.append(request, lambda result: self._stored(request, result, done))

    def _stored(self, request: Append, result: AppendResult, done: Callable[[AppendResult], None]) -> None:
        if isinstance(result, Appended):
            self._die(request)
        else:
            done(result)

    def _die(self, request: Append) -> None:
        self._crash.run_id = request.run_id
        self._runtime.lose_all(self._error())

    def _error(self) -> Crashed:
        return Crashed(f"the process was made to crash {self._crash.where}", hint="run it again to go on")


def _known(event: str | type[Event]) -> str:
    name = event if isinstance(event, str) else event.__name__
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        raise ValueError(f"there is no event {name!r}{f'; did you mean {near[0]}?' if near else ''}")
    return name


def _few(paths: list[str]) -> str:
    rest = len(paths) - SHOWN
    return (", ".join(paths[:SHOWN]) or "nothing") + (f" and {rest:,} more" if rest > 0 else "")


def _fits(path: str, wanted: str | None) -> bool:
    return wanted is None or path == wanted or path.endswith(f"/{wanted}")
