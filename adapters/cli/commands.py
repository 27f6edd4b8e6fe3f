"""The verbs, put together. What a verb needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from . import (
    again,
    asking,
    board,
    completing,
    conducting,
    db,
    dead_letters,
    definitions,
    demo,
    erasing,
    explaining,
    listing,
    projecting,
    proving,
    reading,
    replaying,
    requesting,
    running,
    sealing,
    submitting,
    working,
)
from .options import AppOption, Before, DatabaseUrlOption

commands = typer.Typer(
    help="Workflows that finish or are undone: every transition is an event.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - takes as long as all the rest

        typer.echo(f"flowledger {version('flowledger')}")
        raise typer.Exit


@commands.callback()
def before(
    context: typer.Context,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Workflows that finish or are undone: every transition is an event."""
    context.obj = Before(app, database_url)


commands.command()(demo.demo)
commands.command(add_help_option=False)(running.plan)
commands.command(add_help_option=False)(running.run)
commands.command(add_help_option=False)(submitting.submit)
commands.command(context_settings=listing.LS_CONTEXT)(listing.ls)
commands.command()(reading.show)
commands.command()(reading.events)
commands.command()(listing.attempts)
commands.command()(listing.audit)
commands.command()(explaining.why)
commands.command()(explaining.diff)
commands.command()(asking.resume)
commands.command()(asking.revert)
commands.command()(requesting.suspend)
commands.command()(requesting.cancel)
commands.command()(requesting.resolve)
commands.command()(requesting.signal)
commands.command()(again.rerun)
commands.command()(again.fork)
commands.add_typer(definitions.definitions, name="definitions")
commands.command()(replaying.replay)
commands.command()(proving.verify)
commands.command()(proving.export)
commands.command()(erasing.erase)
commands.add_typer(sealing.seals, name="seals")
commands.add_typer(sealing.keys, name="keys")
commands.command()(completing.completion)
commands.command()(projecting.projector)
commands.add_typer(projecting.projections, name="projections")
commands.command()(conducting.conductor)
commands.command()(board.conductors)
commands.add_typer(board.jobs, name="jobs")
commands.command()(working.worker)
commands.add_typer(working.workers, name="workers")
commands.add_typer(dead_letters.dlq, name="dlq")
commands.add_typer(db.db, name="db")
