"""`resume` and `revert`: what a person asks of a run that exists. This process claims the run and drives it itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    AppOption,
    DatabaseUrlOption,
    JsonOption,
    PlainOption,
    ReasonOption,
    RunsArgument,
    terminal_of,
)
from .running import app_of
from .terminal import Terminal, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowledger.adapters.app import App
    from flowledger.adapters.history import History
    from flowledger.events.store import Stream

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, in order; change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def resume(
    context: typer.Context,
    runs: RunsArgument,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Go on with runs that are suspended, or whose process is gone."""
    from .driven import history_of  # noqa: PLC0415

    found = app_of(context, app, database_url)
    try:
        streams = _streams(history_of(found), runs)
        _each(streams, lambda stream: _resume_one(found, terminal_of(json=json, plain=plain), stream))
    finally:
        found.close()


def revert(
    context: typer.Context,
    runs: RunsArgument,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Undo what runs did that have ended, in reverse order of their dependencies."""
    from .driven import history_of  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    found = app_of(context, app, database_url)
    try:
        streams = _streams(history_of(found), runs)
        if dry_run:
            _each(streams, lambda stream: _preview(found, terminal, stream))
            return
        why = _reason(reason)
        _confirm(found, streams, yes=yes)
        _each(streams, lambda stream: _revert_one(found, terminal, stream, why))
    finally:
        found.close()


def _streams(history: History, references: list[str]) -> list[Stream]:
    """The runs meant, all of them found before the first is touched."""
    return [history.find(reference) for reference in references]


def _each(streams: list[Stream], work: Callable[[Stream], int]) -> None:
    """One run after the other; a refused one does not keep the others from being tried."""
    from flowledger.events.errors import FlowledgerError  # noqa: PLC0415

    from .exits import report  # noqa: PLC0415

    codes: list[int] = []
    for stream in streams:
        try:
            codes.append(work(stream))
        except FlowledgerError as error:
            codes.append(report(error, say))
    worst = max(codes, default=0)
    if worst:
        raise typer.Exit(worst)


def _resume_one(app: App, terminal: Terminal, stream: Stream) -> int:
    from flowledger.events.store import FINAL  # noqa: PLC0415

    from .driven import Driven, finished  # noqa: PLC0415

    if stream.status in FINAL:
        say(f"run {stream.run_id} has ended: {stream.status}; there is nothing to resume")
    driven = Driven(app, terminal, before=stream)
    return finished(driven, driven.drive(lambda observe: app.resume_run(stream.run_id, observe=observe)))


def _revert_one(app: App, terminal: Terminal, stream: Stream, reason: str) -> int:
    from .driven import Driven, finished  # noqa: PLC0415

    driven = Driven(app, terminal, before=stream)
    run = driven.drive(lambda observe: app.revert_run(stream.run_id, reason=reason, observe=observe))
    return finished(driven, run)


# -- before a revert ----------------------------------------------------------------------------


def _preview(app: App, terminal: Terminal, stream: Stream) -> int:
    from .words import count  # noqa: PLC0415

    preview = app.preview_revert(stream.run_id)
    if terminal.json:
        fields = {"id": stream.run_id, "reverts": preview.reverts, "keeps": preview.keeps}
        terminal.document("preview", {**fields, "runs_again": preview.runs_again})
        return 0
    for place, path in enumerate(preview.reverts, start=1):
        terminal.line(f"{place:>3}  {path}")
    say(f"would revert {count(len(preview.reverts), 'task')} of run {stream.run_id}, in this order")
    say("no change made (dry run)")
    return 0


def _reason(reason: str | None) -> str:
    """Why, as given or asked for.

    Raises:
        InputError: nobody says why, and there is nobody to ask.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415

    if reason is None and sys.stdin.isatty() and sys.stderr.isatty():
        reason = str(typer.prompt("reason", err=True))
    if not reason or not reason.strip():
        raise InputError("a revert needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
    return reason


def _confirm(app: App, streams: list[Stream], *, yes: bool) -> None:
    """Ask a person at a terminal; a script has said what it wants."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    for stream in streams:
        tasks = len(app.preview_revert(stream.run_id).reverts)
        say(f"{stream.factory} {stream.run_id}: {tasks} tasks would be reverted")
    if not typer.confirm("revert?", err=True):
        say("nothing was changed")
        raise typer.Exit(0)
