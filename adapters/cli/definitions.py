"""`definitions`: what the app's code has, and whether the runs under way could go on under it (rule E8)."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import typer

from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, terminal_of
from .running import app_of
from .spans import Span
from .terminal import Terminal, say
from .words import count

if TYPE_CHECKING:
    from flowledger.adapters.app import App
    from flowledger.adapters.checking import Finding

definitions = typer.Typer(
    help="What the code has, and whether the runs under way could go on under it.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip

_SAID: Final[dict[str, tuple[str, str]]] = {
    "same": ("same plan", "dim"),
    "accepted": ("another plan, accepted", "yellow"),
    "refused": ("REFUSED", "bold red"),
}


@definitions.command("ls")
def list_definitions(
    context: typer.Context,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List flows and tasks, the inputs they take, and how many of their runs have not ended."""
    from flowledger.adapters.checking import live_runs  # noqa: PLC0415

    from .driven import history_of  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with closing(app_of(context, app, database_url)) as found:
        live = Counter(stream.factory for stream in live_runs(history_of(found).store, found.name))
        rows = [_definition(found, name, live) for name in sorted({*found.flows, *found.tasks, *live})]
        if terminal.json:
            terminal.document("definitions", {"app": found.name, "items": rows})
            return
        heads = ("NAME", "KIND", "INPUTS", "LIVE")
        terminal.table(heads, [_row(row) for row in rows], elastic=("INPUTS",))


def _definition(app: App, name: str, live: Counter[str]) -> dict[str, Any]:
    from flowledger.core.bound import type_name  # noqa: PLC0415
    from flowledger.core.compiler import inputs_of  # noqa: PLC0415

    kind = "flow" if name in app.flows else "task" if name in app.tasks else None
    inputs = {} if kind is None else {n: type_name(p.annotation) for n, p in inputs_of(app, name).items()}
    return {"name": name, "kind": kind, "inputs": inputs, "live": live[name]}


def _row(row: dict[str, Any]) -> tuple[Span | str, ...]:
    kind = row["kind"] or Span("not in this code", "bold red")
    return (row["name"], kind, ", ".join(f"{n}: {t}" for n, t in row["inputs"].items()), str(row["live"]))


@definitions.command("check")
def check_definitions(
    context: typer.Context,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """See whether every run that has not ended could go on under this code; exit code 7 if one could not.

    Calls the factories, twice each; runs no task and writes nothing.
    """
    from flowledger.adapters.checking import check_live  # noqa: PLC0415

    from .driven import history_of  # noqa: PLC0415
    from .exits import Exit  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with closing(app_of(context, app, database_url)) as found:
        short = history_of(found).short
        findings: list[Finding] = []
        for finding in check_live(found.runtime, found):
            findings.append(finding)
            if not terminal.json:
                _show(terminal, finding, short(finding.stream.run_id))
        if terminal.json:
            terminal.document("definitions check", {"app": found.name, "items": [_fields(f) for f in findings]})
    refused = sum(finding.verdict == "refused" for finding in findings)
    say(f"{count(len(findings), 'run')} not ended; {refused or 'none'} could not go on under this code")
    if refused:
        raise typer.Exit(Exit.NONDETERMINISM)


def _show(terminal: Terminal, finding: Finding, name: str) -> None:
    stream, (words, style) = finding.stream, _SAID[finding.verdict]
    code = f" {finding.code}" if finding.code else ""
    head = [Span(stream.factory, "bold"), Span(f"  {name}  {stream.status}  "), Span(f"{words}{code}", style)]
    terminal.lines([head, *([Span(f"  {line}")] for line in finding.lines)])


def _fields(finding: Finding) -> dict[str, Any]:
    stream = finding.stream
    return {
        "id": stream.run_id, "flow": stream.factory, "key": stream.key, "state": stream.status,
        "verdict": finding.verdict, "code": finding.code or None, "lines": list(finding.lines),
    }  # fmt: skip
