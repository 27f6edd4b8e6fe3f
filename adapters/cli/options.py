"""The options that several commands take, and what the root command has been told before the verb."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flowledger.adapters.settings import Settings, resolve

from .terminal import Terminal

AppOption = Annotated[str | None, typer.Option("--app", metavar="MODULE:APP", help="Where the app is.")]
DatabaseUrlOption = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="Where the log is; sqlite:///flowledger.db if unsaid."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="No colours, nothing redrawn.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the log.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="An id, the beginning of one, a key, or @last.", show_default=False)
]
RunsArgument = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, keys, or @last.", show_default=False)
]


@dataclass(frozen=True)
class Before:
    """What stood before the verb."""

    app: str | None = None
    database_url: str | None = None


def settings_of(context: typer.Context, *, app: str | None = None, database_url: str | None = None) -> Settings:
    """The settings of this command: its own options, then those before the verb, then the other places."""
    before = context.find_object(Before) or Before()
    options = {"app": app or before.app, "database_url": database_url or before.database_url}
    return resolve(options=options)


def terminal_of(*, json: bool, plain: bool = False) -> Terminal:
    """The way out that the options ask for."""
    return Terminal(json=json, plain=plain)


def program() -> str:
    """How to call us again, for lines that are to be typed: by name where the shell finds us, else as it was typed."""
    called = Path(sys.argv[0])
    found = shutil.which("flowledger")
    if called.name == "__main__.py":
        return "python -m flowledger"
    if found and Path(found).resolve() == called.resolve():
        return "flowledger"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
