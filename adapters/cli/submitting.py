"""`submit`: a run is put on the job board, for whoever takes jobs; or watched until it has ended."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, terminal_of
from .running import (
    FlowArgument,
    HelpOption,
    InputOption,
    SetOption,
    app_of,
    help_of,
    inputs_given,
    named_flow,
    part_of,
)
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.adapters.run import Run
    from flowledger.core.plan import Plan

KeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help="The same key gives the same run.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="A tag; may be repeated.")]
QueueOption = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Another queue than the app's own.")]
PriorityOption = Annotated[int, typer.Option("--priority", metavar="N", help="Higher comes first, then the oldest.")]
NotBeforeOption = Annotated[
    str | None, typer.Option("--not-before", metavar="TIME", help="Nobody begins before; e.g. 2030-01-31T08:00:00Z.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Watch it until it has ended. ^C detaches.")]


def submit(
    context: typer.Context,
    flow: FlowArgument = None,
    input_: InputOption = None,
    set_: SetOption = None,
    key: KeyOption = None,
    tag: TagOption = None,
    queue: QueueOption = None,
    priority: PriorityOption = 0,
    not_before: NotBeforeOption = None,
    wait: WaitOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    help_: HelpOption = False,
) -> None:
    """Put a run on the job board; a conductor drives it."""
    if help_:
        help_of(context, flow, app, verb="submit")
        return
    from flowledger.events.board import DEFAULT_QUEUE  # noqa: PLC0415

    from .inputs import read_tags  # noqa: PLC0415

    found = app_of(context, app, database_url)
    name = named_flow(found, flow)
    part = part_of(found, name, inputs_given(found, name, input_, set_))
    try:
        run = found.submit(
            part, key=key, tags=read_tags(tag or ()), queue=queue or DEFAULT_QUEUE, priority=priority,
            not_before=None if not_before is None else _time(not_before),
        )  # fmt: skip
        terminal = terminal_of(json=json, plain=plain)
        code = _wait(found, terminal, run, found.plan(part)) if wait else _said(found, terminal, run)
    finally:
        found.close()
    if code:
        raise typer.Exit(code)


def _said(app: App, terminal: Terminal, run: Run[object]) -> int:
    stream = app.stream_of(run.id)
    if terminal.json:
        terminal.document("submitted", {"id": run.id, "key": stream.key, "state": run.state, "queue": stream.queue})
    else:
        terminal.line(run.id)
    if not app.is_served(stream):
        say(f"nobody takes jobs of queue {stream.queue!r} now: start `flowledger conductor`, or `resume` it here")
    return Exit.OK


def _wait(app: App, terminal: Terminal, run: Run[object], compiled: Plan) -> int:
    """Watch the run where a conductor drives it; drive it here where nobody would."""
    from .driven import Driven, finished  # noqa: PLC0415

    stream = app.stream_of(run.id)
    driven = Driven(app, terminal, compiled=compiled)
    if not app.is_served(stream):
        return finished(driven, driven.drive(lambda observe: app.resume_run(run.id, observe=observe)))
    try:
        with driven.watch:
            for page in driven.history.follow(run.id):
                driven.watch.observe(page)
                if not page and (driven.view.is_final or driven.view.status == "SUSPENDED"):
                    break  # of the latter, only a person goes on
    except KeyboardInterrupt:
        say(f"detached: run {run.id} goes on; `flowledger show {run.id} -f` watches it again")
        return Exit.INTERRUPTED
    return finished(driven, app.get(run.id))


def _time(said: str) -> datetime:
    """A time as given.

    Raises:
        InputError: it is none, or has no time zone.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415

    try:
        time = datetime.fromisoformat(said)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise InputError(
            f"--not-before {said}: expected a time with its zone", field="--not-before",
            expected="a time with its zone", given=said, hint="e.g. 2030-01-31T08:00:00Z or 2030-01-31T09:00+01:00",
        )  # fmt: skip
    return time
