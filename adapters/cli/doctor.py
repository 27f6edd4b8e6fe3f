"""`doctor`: what keeps runs from going on, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from .exits import Exit
from .options import DatabaseUrlOption, JsonOption, PlainOption, settings_of, terminal_of
from .spans import Line, Span
from .terminal import Terminal
from .words import Look

if TYPE_CHECKING:
    from flowledger.adapters.doctoring import Found

_LOOKS: Final[dict[str, Look]] = {
    "ok": Look("✔ OK", "green"),
    "note": Look("! NOTE", "bold yellow"),
    "bad": Look("✘ BAD", "bold red"),
}


def doctor(
    context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False, plain: PlainOption = False
) -> None:
    """Look for what keeps runs from going on: database, open transactions, views, jobs, drivers, workers, broker.

    Changes nothing. Ends with 4 where something is bad.
    """
    from flowledger.adapters.doctoring import examine  # noqa: PLC0415 - loads the store

    terminal = terminal_of(json=json, plain=plain)
    found: list[Found] = []
    for each in examine(settings_of(context, database_url=database_url)):
        found.append(each)
        if not terminal.json:
            _say(terminal, each)
    bad = any(each.verdict == "bad" for each in found)
    if terminal.json:
        terminal.document("doctor", {"good": not bad, "items": [each._asdict() for each in found]})
    if bad:
        raise typer.Exit(Exit.REFUSED)


def _say(terminal: Terminal, found: Found) -> None:
    icon, style = _LOOKS[found.verdict]
    lines: list[Line] = [[Span(f"{icon:<7}", style), Span(f"{found.about:<14}", "bold"), Span(found.said)]]
    if found.hint and found.verdict != "ok":
        lines.append([Span(f"{'':<21}{found.hint}", "dim")])
    terminal.lines(lines)
