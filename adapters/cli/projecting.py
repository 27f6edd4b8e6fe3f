"""`projector` and `projections ls|status|rebuild`: keeping the views of the log, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AppOption, DatabaseUrlOption, JsonOption, settings_of, terminal_of
from .terminal import say

if TYPE_CHECKING:
    from flowledger.adapters.notifying.sender import Sender
    from flowledger.adapters.settings import Settings
    from flowledger.events.store import Store
    from flowledger.projections.projection import Projection
    from flowledger.projections.view_store import Slot, ViewStore

projections = typer.Typer(
    help="See how far the views of the log are; make them anew.", no_args_is_help=True, rich_markup_mode=None
)


def projector(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Catch up with the log, then end.")] = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Keep the views of the log up to date. Several may run: one is active, the others stand by.

    With an app also its own projections; and whoever the app wants to be told is told (`App.notify`).
    """
    from flowledger.adapters.history import History  # noqa: PLC0415 - loads SQLAlchemy
    from flowledger.adapters.projecting.process import follow  # noqa: PLC0415
    from flowledger.adapters.projecting.together import Together  # noqa: PLC0415

    from .stopping import told_to_stop  # noqa: PLC0415

    settings = settings_of(context, app=app, database_url=database_url)
    with History.at(settings.database_url, schema=settings.database_schema) as history, told_to_stop() as stop:
        together = Together.over(history.store, every_projection(settings))
        try:
            names = ", ".join(p.projection.name for p in together.projectors)
            say(f"projecting {names} of {history.store.describe()} into {together.views.describe()}")
            tell = sender_of(settings, history.store, together.views)
            if not once:
                follow(history.store, together, stop, beside=None if tell is None else tell.round)
            while once and not stop.is_set() and not together.catch_up(within_s=1):
                if together.failed:
                    raise typer.Exit(1)
            say(f"took in {together.events:,} events")
        finally:
            together.close()


def every_projection(settings: Settings) -> Sequence[Projection]:
    """The built-in projection, and the app's own where an app is named."""
    from flowledger.projections.history import HISTORY  # noqa: PLC0415

    from .finding import find_app, in_project_file  # noqa: PLC0415

    if not (settings.app or in_project_file()):
        return [HISTORY]
    return find_app(settings.app).projections


def sender_of(settings: Settings, store: Store, views: ViewStore) -> Sender | None:
    """Who sends the notices of the app, where an app is named that has rules."""
    from .finding import find_app, in_project_file  # noqa: PLC0415

    if not (settings.app or in_project_file()):
        return None
    app = find_app(settings.app)
    if not app.notifications:
        return None
    from flowledger.adapters.notifying.sender import Sender  # noqa: PLC0415

    say(f"telling {', '.join(f'{rule.name} ({rule.channel.describe()})' for rule in app.notifications)}")
    return Sender(store, views, app.name, app.notifications)


# -- projections --------------------------------------------------------------------------------


@projections.command()
def ls(context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False) -> None:
    """List the projections of this log, and how far each is."""
    _show(context, database_url, json=json, tables=False)


@projections.command()
def status(context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False) -> None:
    """List the projections with their tables and what they hold."""
    _show(context, database_url, json=json, tables=True)


def _show(context: typer.Context, database_url: str | None, *, json: bool, tables: bool) -> None:
    from flowledger.adapters.history import History  # noqa: PLC0415 - loads SQLAlchemy
    from flowledger.adapters.projecting.standing import standings  # noqa: PLC0415

    from .as_json import seconds  # noqa: PLC0415
    from .words import iso, took  # noqa: PLC0415

    settings = settings_of(context, database_url=database_url)
    terminal = terminal_of(json=json)
    with History.at(settings.database_url, schema=settings.database_schema) as history:
        found = standings(history.store, rows=tables)
    if terminal.json:
        items = [
            _fields(each.slot) | {"behind_s": seconds(each.behind_us)} | ({"tables": each.rows} if tables else {})
            for each in found.projections
        ]
        held_back = {"by": found.hidden.by, "since": iso(found.hidden.since_us)} if found.hidden else None
        terminal.document("projections", {"where": found.where, "items": items, "held_back": held_back})
        return
    rows = [
        (
            each.slot.projection, str(each.slot.version), "read" if each.slot.live else "being made",
            f"{each.slot.mark.events:,}", iso(each.slot.mark.time_us) or "" if each.slot.mark.events else "",
            took(each.behind_us) if each.behind_us else "nothing",
        )
        for each in found.projections
    ]  # fmt: skip
    terminal.table(("PROJECTION", "VERSION", "STATE", "EVENTS", "UP TO", "BEHIND BY"), rows)
    if tables and found.projections:
        terminal.line("")
        held = [
            (each.slot.projection, table, f"{many:,}")
            for each in found.projections
            for table, many in each.rows.items()
        ]
        terminal.table(("PROJECTION", "TABLE", "ROWS"), held)
    say(f"views: {found.where}")
    if found.hidden:
        who = found.hidden.by or "its owner's name is not shown to this role"
        say(f"an open transaction holds back what is in the log since {iso(found.hidden.since_us)}: {who}")


def _fields(slot: Slot) -> dict[str, Any]:
    from .words import iso  # noqa: PLC0415

    mark = slot.mark
    return {
        "name": slot.projection, "version": slot.version, "live": slot.live, "slot": slot.number,
        "events": mark.events, "up_to": iso(mark.time_us) if mark.events else None,
    }  # fmt: skip


@projections.command()
def rebuild(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which projection.", show_default=False)] = "history",
    compare: Annotated[
        bool, typer.Option("--compare", help="Say whether the new tables are byte for byte those there were.")
    ] = False,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Make a projection's tables anew from the whole log, beside those that are read, then read the new ones."""
    from flowledger.adapters.history import History  # noqa: PLC0415 - loads SQLAlchemy
    from flowledger.adapters.projecting.standing import rebuilt  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    settings = settings_of(context, app=app, database_url=database_url)
    known = {projection.name: projection for projection in every_projection(settings)}
    if name not in known:
        raise InputError(
            f"there is no projection {name!r}", field="NAME", given=name, expected=", ".join(known),
            hint=f"known are {', '.join(known)}; an app's own need --app",
        )  # fmt: skip
    with History.at(settings.database_url, schema=settings.database_schema) as history:
        done = rebuilt(history.store, known[name], compare=compare)
    terminal = terminal_of(json=json)
    if terminal.json:
        terminal.document("projection", _fields(done.slot) | {"equal": done.equal})
    else:
        same = {True: ", byte for byte as before", False: ", and they DIFFER from those before", None: ""}[done.equal]
        terminal.line(f"{name} made anew from {done.slot.mark.events:,} events{same}")
    if done.equal is False:
        raise typer.Exit(6)
