"""`erase`: the keys of runs removed; what happened stays, and verifies."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import DatabaseUrlOption, JsonOption, ReasonOption, RunsArgument, terminal_of
from .reading import reading
from .terminal import say


def erase(
    context: typer.Context,
    runs: RunsArgument,
    reason: ReasonOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """Erase the secrets and encrypted values of runs that are over: for good. Their history still verifies."""
    from flowledger.adapters.erasing import erase as erase_run  # noqa: PLC0415
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    terminal = terminal_of(json=json)
    is_asked = sys.stdin.isatty() and sys.stderr.isatty()
    if reason is None and is_asked:
        reason = str(typer.prompt("reason", err=True))
    with reading(context, database_url) as history:
        streams = [history.find(reference) for reference in runs]
        if is_asked and not yes and not typer.confirm(f"erase the values of {len(streams)} runs for good?", err=True):
            say("nothing was changed")
            raise typer.Exit(0)
        for stream in streams:
            erase_run(history.store, stream, reason=reason or "", actor=actor())
            if terminal.json:
                terminal.document("erased", {"id": stream.run_id})
            else:
                terminal.line(f"erased  {stream.run_id}")
    say("backups made before still have the keys")
