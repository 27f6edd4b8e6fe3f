"""`resume` and `revert`: what a person asks of a run that exists. This process claims the run and drives it itself,
unless it is a suspended job that conductors take.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from .meant import (
    DryRunOption,
    NeverAsksOption,
    YesOption,
    accepted,
    confirm,
    each,
    reason_for,
    show_preview,
    streams_of,
)
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
from .wishing import Wishing

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.events.store import Stream


def resume(
    context: typer.Context,
    runs: RunsArgument,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: NeverAsksOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Go on with runs that are suspended, or whose process is gone."""
    from .driven import history_of  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with closing(app_of(context, app, database_url)) as found:
        history = history_of(found)
        streams = streams_of(history, runs)
        if dry_run:
            wish = Wishing(history, terminal, "resume")
            each(streams, lambda stream: wish(stream, "resume"))
            return
        each(streams, lambda stream: _resume_one(found, terminal, stream, reason))


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
    if stream.status == "SUSPENDED" and app.is_served(stream):
        return _resume_elsewhere(app, terminal, stream, reason or "")
    driven = Driven(app, terminal, before=stream)
    return finished(
        driven, driven.drive(lambda observe: app.resume_run(stream.run_id, reason=reason or "", observe=observe))
    )


def _resume_elsewhere(app: App, terminal: Terminal, stream: Stream, reason: str) -> int:
    """Ask the conductors that take such runs (B3); where none answers, take it up and watch what comes of it."""
    from flowledger.adapters import asking  # noqa: PLC0415
    from flowledger.events.requests import Resume  # noqa: PLC0415

    from .driven import Driven, finished  # noqa: PLC0415

    store = app.runtime.store
    asked = asking.send(store, stream.run_id, Resume(reason=reason))
    answer = asking.answer(store, stream, asked, patience_s=asking.patience_s(store, stream))
    if answer is None:
        driven = Driven(app, terminal, before=stream)
        return finished(driven, driven.drive(lambda observe: app.see_to(stream, asked, observe=observe)))
    asking.check(stream.run_id, answer)
    return accepted(terminal, stream.run_id, "resume")


def _revert_one(app: App, terminal: Terminal, stream: Stream, reason: str) -> int:
    from .driven import Driven, finished  # noqa: PLC0415

    driven = Driven(app, terminal, before=stream)
    run = driven.drive(lambda observe: app.revert_run(stream.run_id, reason=reason, observe=observe))
    return finished(driven, run)
