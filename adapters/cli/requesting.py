"""`suspend`, `cancel`, `resolve`, `signal`: what a person asks of runs that are under way (rules G1 to G4, F4).

The request goes into the run's inbox, for which no app is needed. Whoever drives the run answers; where nobody does,
this process takes the run up, and for that it needs the app.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

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
    RunArgument,
    RunsArgument,
    terminal_of,
)
from .reading import reading
from .running import app_of
from .terminal import Terminal
from .wishing import Wishing

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowledger.adapters.history import History
    from flowledger.events.requests import Request
    from flowledger.events.store import Stream


KeepOption = Annotated[bool, typer.Option("--keep", help="Leave standing what the run has done.")]
AsOption = Annotated[
    str, typer.Option("--as", metavar="rerun|failed|succeeded=JSON", help="What became of it.", show_default=False)
]
PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="The task that is held.", show_default=False)]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the run waits for.", show_default=False)]
PayloadArgument = Annotated[str, typer.Argument(metavar="JSON", help="The value; JSON, or a text.")]


def suspend(
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
    """Let running tasks finish and start nothing more; `resume` goes on."""
    from flowledger.events.requests import Suspend  # noqa: PLC0415

    with reading(context, database_url) as history:
        streams = streams_of(history, runs)
        terminal = terminal_of(json=json, plain=plain)
        if dry_run:
            wish = Wishing(history, terminal, "suspend")
            each(streams, lambda stream: wish(stream, "suspend"))
            return
        request = Suspend(reason=reason_for("suspend", reason))
        ask = _Asking(context, history, app, database_url, terminal)
        each(streams, lambda stream: ask(stream, request, wanted="SUSPENDED"))


def cancel(
    context: typer.Context,
    runs: RunsArgument,
    keep: KeepOption = False,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Give runs up and undo what they did."""
    from flowledger.events.requests import Cancel  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        streams = streams_of(history, runs)
        if dry_run:
            _show_cancel(context, app, database_url, terminal, streams, keep=keep)
            return
        request = Cancel(reason=reason_for("cancel", reason), keep=keep)
        if not keep:
            confirm("cancel", streams, _done_so_far(history), yes=yes)
        ask = _Asking(context, history, app, database_url, terminal)
        each(streams, lambda stream: ask(stream, request, wanted="CANCELLED"))


def resolve(
    context: typer.Context,
    run: RunArgument,
    path: PathArgument,
    as_: AsOption,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: NeverAsksOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Say what became of a task that a run is held at; the run goes on with that."""
    request = _resolution(path, as_, "" if dry_run else reason_for("resolve", reason))
    with reading(context, database_url) as history:
        streams = streams_of(history, [run])
        terminal = terminal_of(json=json, plain=plain)
        if dry_run:
            wish = Wishing(history, terminal, "resolve")
            each(streams, lambda stream: wish(stream, f"resolve {path} as {request.resolution} for", path=path))
            return
        ask = _Asking(context, history, app, database_url, terminal)
        each(streams, lambda stream: ask(stream, request))


def signal(
    context: typer.Context,
    run: RunArgument,
    name: NameArgument,
    payload: PayloadArgument = "null",
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    yes: NeverAsksOption = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Send a value to a run that waits for it, now or later."""
    from flowledger.events.facts import Raw  # noqa: PLC0415
    from flowledger.events.requests import Signal  # noqa: PLC0415

    request = Signal(name=name, payload=Raw(_json(payload)), reason=reason or "")
    with reading(context, database_url) as history:
        streams = streams_of(history, [run])
        terminal = terminal_of(json=json, plain=plain)
        if dry_run:
            wish = Wishing(history, terminal, "signal")
            each(streams, lambda stream: wish(stream, f"send signal {name} to"))
            return
        ask = _Asking(context, history, app, database_url, terminal)
        each(streams, lambda stream: ask(stream, request))


# -- what is asked ------------------------------------------------------------------------------


def _json(text: str) -> bytes:
    """The text as JSON: as it is, if it is some, else as a text of its own."""
    import msgspec  # noqa: PLC0415

    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return msgspec.json.encode(text)
    return text.encode()


def _resolution(path: str, as_: str, reason: str):  # type: ignore[no-untyped-def]
    """The request that ``--as`` spells.

    Raises:
        InputError: it spells none.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415
    from flowledger.events.facts import NULL, Raw  # noqa: PLC0415
    from flowledger.events.requests import Resolve  # noqa: PLC0415

    word, given, content = as_.partition("=")
    if word == "succeeded":
        return Resolve(path=path, resolution="succeeded", result=Raw(_json(content)) if given else NULL, reason=reason)
    if word == "rerun" and not given:
        return Resolve(path=path, resolution="rerun", reason=reason)
    if word == "failed" and not given:
        return Resolve(path=path, resolution="failed", reason=reason)
    raise InputError(
        f"--as {as_}: there is no such word", field="--as", expected="rerun, failed or succeeded=JSON", given=as_
    )


def _show_cancel(
    context: typer.Context, app: str | None, database_url: str | None, terminal: Terminal, streams: list[Stream],
    *, keep: bool,
) -> None:  # fmt: skip
    with closing(app_of(context, app, database_url)) as found:
        each(streams, lambda s: show_preview(terminal, "cancel", s, found.preview_cancel(s.run_id, keep=keep)))


def _done_so_far(history: History) -> Callable[[Stream], int]:
    """How many tasks have succeeded: about as many would be reverted."""
    return lambda stream: history.view(stream.run_id).root.done


# -- asking -------------------------------------------------------------------------------------


class _Asking:
    """Sends a request and sees to its answer. Returns the exit code."""

    def __init__(
        self, context: typer.Context, history: History, app: str | None, database_url: str | None, terminal: Terminal
    ) -> None:
        self._context = context
        self._history = history
        self._app = app
        self._database_url = database_url
        self._terminal = terminal

    def __call__(self, stream: Stream, request: Request, *, wanted: str = "") -> int:
        from flowledger.adapters import asking  # noqa: PLC0415

        store = self._history.store
        asked = asking.send(store, stream.run_id, request)
        answer = asking.answer(store, stream, asked, patience_s=asking.patience_s(store, stream))
        if answer is None:
            return self._drive(stream, asked, wanted)
        asking.check(stream.run_id, answer)
        return accepted(self._terminal, stream.run_id, request.kind)

    def _drive(self, stream: Stream, asked: str, wanted: str) -> int:
        """Nobody answers: take the run up, and watch what comes of it."""
        from .driven import Driven, finished  # noqa: PLC0415
        from .exits import Exit  # noqa: PLC0415

        app = app_of(self._context, self._app, self._database_url)
        with Driven(app, self._terminal, before=stream) as driven:
            run = driven.drive(lambda observe: app.see_to(stream, asked, observe=observe))
            code = finished(driven, run)
            return Exit.OK if driven.view.status == wanted else code
