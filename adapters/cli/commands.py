"""The verbs, put together. What a verb needs is imported when it runs."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from . import (
    again,
    asking,
    board,
    completing,
    conducting,
    config,
    db,
    dead_letters,
    definitions,
    demo,
    doctor,
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
from .printable import printable


class Verbs(TyperGroup):
    """The group of all verbs. Errors of usage repeat what was typed: there, too, it may not act on a terminal."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """See `click.Command.make_context`."""
        try:
            return super().make_context(*args, **more)
        except Exception as error:
            _tame(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """See `click.Command.invoke`: here the verbs read what was typed after them."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            _tame(error)
            raise


def _tame(error: Exception) -> None:
    """Make the message of an error of usage harmless; other errors are said by `exits.report`."""
    if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
        error.message = "\n".join(map(printable, error.message.split("\n")))  # type: ignore[attr-defined]


commands = typer.Typer(
    cls=Verbs,
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
commands.add_typer(config.config, name="config")
commands.command()(doctor.doctor)


@cache
def verbs() -> Verbs:
    """All of them, ready to be called. Made once: that takes longer than many a verb, and does not change."""
    made = get_command(commands)
    assert isinstance(made, Verbs)
    return made
