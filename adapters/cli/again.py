"""`rerun` and `fork`: a run that is over, once more (G5), or in a new run that takes over what it has done (G6)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .meant import DryRunOption, NeverAsksOption, YesOption, confirm, each, reason_for, show_preview, streams_of
from .options import (
    AppOption,
    DatabaseUrlOption,
    JsonOption,
    PlainOption,
    ReasonOption,
    RunArgument,
    RunsArgument,
    terminal_of,
)
from .running import app_of

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.events.store import Stream

    from .terminal import Terminal

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="PATH", help="From this part on; what stands of it and after it is undone first.",
        show_default=False,
    ),
]  # fmt: skip
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="PATH or V", help="New from this part on; or: as the run stood after event V.",
        show_default=False,
    ),
]  # fmt: skip
InputOption = Annotated[
    Path | None,
    typer.Option("--input", metavar="FILE", help="New inputs by name, as .json or .yaml.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=1", help="One input, or a field of one, that is another. May be repeated."),
]
AdoptOption = Annotated[
    bool, typer.Option("--adopt", help="Undoing what is taken over becomes the fork's; the source cannot any more.")
]


def rerun(
    context: typer.Context,
    runs: RunsArgument,
    from_: FromOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Run again what has not succeeded of runs that have ended; the rest is kept."""
    from .driven import history_of  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with closing(app_of(context, app, database_url)) as found:
        streams = streams_of(history_of(found), runs)
        if dry_run:
            each(streams, lambda s: show_preview(terminal, "rerun", s, found.preview_rerun(s.run_id, from_=from_)))
            return
        why = reason_for("rerun", reason)
        if from_ is not None:
            confirm("rerun", streams, lambda s: len(found.preview_rerun(s.run_id, from_=from_).reverts), yes=yes)
        each(streams, lambda stream: _rerun_one(found, terminal, stream, why, from_))


def _rerun_one(app: App, terminal: Terminal, stream: Stream, reason: str, from_: str | None) -> int:
    from .driven import Driven, finished  # noqa: PLC0415

    driven = Driven(app, terminal, before=stream)
    run = driven.drive(lambda observe: app.rerun_run(stream.run_id, reason=reason, from_=from_, observe=observe))
    return finished(driven, run)


def fork(
    context: typer.Context,
    run: RunArgument,
    at: AtOption = None,
    input_: InputOption = None,
    set_: SetOption = None,
    adopt: AdoptOption = False,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: NeverAsksOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Begin a new run that takes over what another has done."""
    from flowledger.adapters.forking import Asked  # noqa: PLC0415

    from .driven import Driven, finish, history_of  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with closing(app_of(context, app, database_url)) as found:
        (stream,) = streams_of(history_of(found), [run])
        place = int(at) if at is not None and at.isdecimal() else at
        inputs = _changed_inputs(found, stream, input_, set_)
        asked = Asked(at=place, inputs=inputs, adopt=adopt, reason="" if dry_run else reason_for("fork", reason))
        if dry_run:
            show_preview(terminal, "fork", stream, found.preview_fork(stream.run_id, asked))
            return
        driven = Driven(found, terminal)
        finish(driven, driven.drive(lambda observe: found.fork_run(stream.run_id, asked, observe=observe)))


def _changed_inputs(app: App, stream: Stream, file: Path | None, settings: list[str] | None) -> dict[str, Any] | None:
    """The inputs that are named, each as it was with the fields that are named changed; None: none are.

    Raises:
        InputError: the file cannot be read, or a setting names a place that is none.
    """
    from .inputs import read_inputs  # noqa: PLC0415

    if file is None and not settings:
        return None
    return read_inputs(file, settings or (), before=app.inputs_of_run(stream.run_id))
