"""A run that this process drives, from the first event to the last word."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from flowledger.adapters.history import History, missing_file
from flowledger.events.errors import RunNotFound
from flowledger.projections.run_view import RunView

from .as_json import run_fields
from .exits import Exit
from .frame import ended, failures, resumed
from .interrupting import interruptible
from .options import program
from .spans import Line, Span
from .terminal import Terminal, say
from .tree import Note
from .watching import Watch, no_note

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.adapters.run import Run
    from flowledger.core.plan import Plan
    from flowledger.events.envelope import Envelope
    from flowledger.events.store import Stream

Observe = Callable[[Sequence["Envelope"]], None]

#: A result of at most so many characters is shown when the run is over.
_SHOWN = 200


def history_of(app: App) -> History:
    """The log of an app that is about to be driven.

    Raises:
        RunNotFound: its file does not exist, so there is nothing to go on with.
    """
    path = missing_file(app.settings.database_url)
    if path is not None:
        raise RunNotFound(f"there is no log at {path}", hint="name another with --database-url")
    return History.reading(app.runtime.store, app.settings)


class Driven:
    """One run, driven and watched; ``before`` is the run as it was, if it was. The context closes the app."""

    def __init__(
        self,
        app: App,
        terminal: Terminal,
        *,
        compiled: Plan | None = None,
        before: Stream | None = None,
        note: Note = no_note,
        taken: int = 0,
    ) -> None:
        self.app = app
        self.terminal = terminal
        self.compiled = compiled
        self.history = History.reading(app.runtime.store, app.settings)
        self.watch = Watch(
            terminal,
            self._document,
            name=self.history.short,
            note=note,
            taken=taken,
            silent=terminal.json,
            told=before.version if before is not None else 0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.close()

    @property
    def view(self) -> RunView:
        """The run as it stands."""
        return self.watch.view

    def drive(self, work: Callable[[Observe], Run[Any]]) -> Run[Any]:
        """Have the app do it while we watch; returns when the run has ended or is suspended."""
        with self.watch, interruptible():
            return work(self.watch.observe)

    def _document(self, fingerprint: str) -> bytes | None:
        if self.compiled is not None and self.compiled.fingerprint == fingerprint:
            return self.compiled.document
        return self.history.store.plan(fingerprint)


def finish(driven: Driven, run: Run[Any]) -> None:
    """The last words; ends the command where the code is not 0."""
    code = finished(driven, run)
    if code:
        raise typer.Exit(code)


def finished(driven: Driven, run: Run[Any]) -> int:
    """The last words; returns the exit code by which a shell sees how it went."""
    view, terminal = driven.view, driven.terminal
    result = _result(driven, run)
    if terminal.json:
        terminal.document("run", run_fields(view) | {"result": result})
    else:
        terminal.lines([*resumed(view), ended(view), *(failures(view) if not view.succeeded else [])])
        _show_result(terminal, result)
        for line in next_steps(driven):
            say(line)
    return exit_code(view)


def exit_code(view: RunView) -> Exit:
    """0 if the run came to what was asked for, 130 if it is suspended, else 1."""
    if view.succeeded:
        return Exit.OK
    return Exit.INTERRUPTED if view.status in ("SUSPENDED", "SUSPENDING") else Exit.UNSUCCESSFUL


def _result(driven: Driven, run: Run[Any]) -> Any:
    """The run's result as JSON would have it, secrets masked; None where there is none."""
    import msgspec  # noqa: PLC0415

    from flowledger.core.secret import masked  # noqa: PLC0415

    if driven.compiled is None or driven.view.status != "SUCCEEDED":
        return None
    returns = driven.compiled.returns
    content = returns.to_json(run.result)
    return msgspec.json.decode(masked(content) if returns.secretive else content)


def _show_result(terminal: Terminal, result: Any) -> None:
    from .printable import json_text  # noqa: PLC0415

    if result is not None:
        text = json_text(result)
        shown: Line = [Span("result  ", "dim"), Span(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")]
        terminal.lines([shown])


def next_steps(driven: Driven) -> list[str]:
    """What to type next, as it must be typed here."""
    view, name = driven.view, driven.history.short(driven.view.run_id)
    says = f"log: {driven.history.store.describe()}"
    where = _database_option(driven.app)
    if view.held:
        path, how = shlex.quote(view.held[0].path), "--as rerun|failed|succeeded=JSON --reason …"
        return ["held: nothing is lost", says, f"go on:  {program()} resolve {name} {path}{where} {how}"]
    if exit_code(view) is Exit.INTERRUPTED:
        return ["suspended: nothing is lost", says, f"go on:  {program()} resume {name}{where}"]
    steps = [f"{program()} show {name}{where}", f"{program()} events {name}{where}"]
    if view.status == "FAILED":
        steps.append(f"{program()} rerun {name}{where} --dry-run")
    if view.status in ("SUCCEEDED", "FAILED"):
        steps.append(f"{program()} revert {name}{where} --dry-run")
    return [says, *(f"{'try:' if i == 0 else '':<6}{step}" for i, step in enumerate(steps))]


def _database_option(app: App) -> str:
    """``--database-url`` where the next command would not look there by itself."""
    settings = app.settings
    elsewhere = settings.origins["database_url"] in ("option", "argument")
    return f" --database-url {shlex.quote(settings.database_url)}" if elsewhere else ""
