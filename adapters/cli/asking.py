"""`resume` and `revert`: what a person asks of a run that exists. This process claims the run and drives it itself."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from .meant import DryRunOption, YesOption, confirm, each, reason_for, show_preview, streams_of
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
    from flowledger.adapters.app import App
    from flowledger.events.store import Stream


def resume(
    context: typer.Context,
    runs: RunsArgument,
    reason: ReasonOption = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Go on with runs that are suspended, or whose process is gone."""
    from .driven import history_of  # noqa: PLC0415

    with closing(app_of(context, app, database_url)) as found:
        streams = streams_of(history_of(found), runs)
        each(streams, lambda stream: _resume_one(found, terminal_of(json=json, plain=plain), stream, reason))


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
    with closing(app_of(context, app, database_url)) as found:
        streams = streams_of(history_of(found), runs)
        if dry_run:
            each(streams, lambda s: show_preview(terminal, "revert", s, found.preview_revert(s.run_id)))
            return
        why = reason_for("revert", reason)
        confirm("revert", streams, lambda s: len(found.preview_revert(s.run_id).reverts), yes=yes)
        each(streams, lambda stream: _revert_one(found, terminal, stream, why))


def _resume_one(app: App, terminal: Terminal, stream: Stream, reason: str | None) -> int:
    from flowledger.events.store import FINAL  # noqa: PLC0415

    from .driven import Driven, finished  # noqa: PLC0415

    if stream.status in FINAL:
        say(f"run {stream.run_id} has ended: {stream.status}; there is nothing to resume")
    driven = Driven(app, terminal, before=stream)
    return finished(
        driven, driven.drive(lambda observe: app.resume_run(stream.run_id, reason=reason or "", observe=observe))
    )


def _revert_one(app: App, terminal: Terminal, stream: Stream, reason: str) -> int:
    from .driven import Driven, finished  # noqa: PLC0415

    driven = Driven(app, terminal, before=stream)
    run = driven.drive(lambda observe: app.revert_run(stream.run_id, reason=reason, observe=observe))
    return finished(driven, run)
