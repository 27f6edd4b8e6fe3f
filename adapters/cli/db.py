"""`db upgrade`, `db status`, `db restored`: looking after the database the log is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .exits import Exit
from .options import DatabaseUrlOption, JsonOption, ReasonOption, settings_of, terminal_of
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.upkeep import Standing

db = typer.Typer(help="Look after the database the log is in.", no_args_is_help=True, rich_markup_mode=None)


@db.command()
def upgrade(
    context: typer.Context,
    roles: Annotated[bool, typer.Option(help="Make the group roles of the schema where they are missing.")] = True,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Make the schema, or bring it to what this release needs. Safe to repeat; one at a time, all or nothing."""
    from flowledger.adapters import upkeep  # noqa: PLC0415 - loads SQLAlchemy and Alembic
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    settings = settings_of(context, database_url=database_url)
    _show(terminal_of(json=json), found := upkeep.upgrade(settings, actor=actor(), make_roles=roles))
    if roles and found.missing_roles:
        say("this role may not make roles, so everything belongs to it. For least privilege, somebody who may runs:")
        for role in found.missing_roles:
            say(f"  CREATE ROLE {role} NOLOGIN;")
        say("then `flowledger db upgrade` again grants them what they need")


@db.command()
def status(context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False) -> None:
    """Say how the database stands; changes nothing. Ends with 4 where an engine of this release could not start."""
    from flowledger.adapters import upkeep  # noqa: PLC0415

    found = upkeep.status(settings_of(context, database_url=database_url))
    _show(terminal_of(json=json), found)
    if not found.is_ready:
        say(f"{upkeep.why_not(found)}: {upkeep.remedy(found)}")
        raise typer.Exit(Exit.REFUSED)


@db.command()
def restored(
    context: typer.Context,
    reason: ReasonOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Say that the log was restored into the cluster it is in now: it goes on from here, and nowhere else."""
    from flowledger.adapters import upkeep  # noqa: PLC0415
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    settings = settings_of(context, database_url=database_url)
    _show(terminal_of(json=json), upkeep.restored(settings, reason=reason or "", actor=actor()))


def _show(terminal: Terminal, found: Standing) -> None:
    if terminal.json:
        fields = {"where": found.where, "version": found.version, "needed": found.needed, "ready": found.is_ready}
        places = {"generation": found.generation, "same_cluster": found.same_cluster}
        people = {"alive": list(found.alive), "missing_roles": list(found.missing_roles)}
        terminal.document("database", fields | places | people)
        return
    terminal.line(f"database    {found.where}")
    terminal.line(f"schema      {found.version or 'none yet'}, this release needs {found.needed}")
    if found.generation:
        elsewhere = "" if found.same_cluster else ", written in another cluster"
        terminal.line(f"generation  {found.generation}{elsewhere}")
    for process in found.alive:
        terminal.line(f"at work     {process}")
