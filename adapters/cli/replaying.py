"""`replay`: are recorded runs still runs of today's code? For CI, and before a deployment."""

from __future__ import annotations

import re
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, terminal_of
from .running import app_of
from .spans import Line, Span
from .terminal import Terminal, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowledger.adapters.app import App
    from flowledger.adapters.replaying import Replayed

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def replay(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="An id, the beginning of one, a key, or @last.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run of the app.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="With --all: submitted since, 30m, 7d, or 2030-01-31.")
    ] = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Check recorded runs against today's code; no task runs. Ends with 7 where an event would not be valid now."""
    from flowledger.adapters.replaying import replay as replay_run  # noqa: PLC0415
    from flowledger.adapters.replaying import replay_all  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415

    from .driven import history_of  # noqa: PLC0415

    if (run is None) != every or (since is not None and not every):
        raise InputError("which runs?", field="RUN", expected="a run, or --all (with --since)")
    since_us = 0 if since is None else _since_us(since)
    with closing(app_of(context, app, database_url)) as found:
        history = history_of(found)
        if run is not None:
            done: Iterable[Replayed] = [replay_run(found.runtime, found, history.find(run))]
        else:
            done = replay_all(found.runtime, found, since_us=since_us)
        _report(terminal_of(json=json, plain=plain), found, done)


def _since_us(text: str) -> int:
    """The time that an age or a day means.

    Raises:
        InputError: it means none.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415

    ages = re.fullmatch(r"(?:\d+[smhdw])+", text)
    if ages is not None:
        age_s = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", text))
        return time.time_ns() // 1_000 - age_s * 1_000_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"--since {text}: this is no time", field="--since", expected="30m, 12h, 7d, or 2030-01-31", given=text
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _report(terminal: Terminal, app: App, replayed: Iterable[Replayed]) -> None:
    from .words import count  # noqa: PLC0415

    runs, events, erased, bad = 0, 0, 0, list[Any]()
    for done in replayed:
        runs += 1
        events += done.events
        erased += done.erased
        if done.error is not None:
            bad.append(done)
            if not terminal.json:
                terminal.lines(_lines(done))
    if terminal.json:
        items = [_fields(done) for done in bad]
        terminal.document("replayed", {"app": app.name, "runs": runs, "events": events, "erased": erased, "bad": items})
    else:
        verdict = Span("✘ NOT REPLAYED", "bold red") if bad else Span("✔ REPLAYED", "green")
        counted = f"  {count(runs - erased, 'run')}, {count(events, 'event')}"
        terminal.lines([[verdict, Span(counted + (f", {len(bad)} of them not valid" if bad else ""))]])
        if erased:
            say(f"{count(erased, 'run')} could not be replayed: their values are erased")
    if bad:
        raise typer.Exit(Exit.NONDETERMINISM if any(done.differs for done in bad) else Exit.NOT_VERIFIED)


def _lines(done: Replayed) -> list[Line]:
    assert done.error is not None
    first, *more = done.error.message.removeprefix(f"run {done.run_id}").lstrip(": ").split("\n")
    lines: list[Line] = [[Span("✘ ", "bold red"), Span(f"run {done.run_id}: ", "bold"), Span(first)]]
    lines += [[Span(f"  {line}")] for line in more]
    if done.expected:
        lines.append([Span("  expected  ", "dim"), Span(", ".join(done.expected))])
    if done.line:
        lines.append([Span("  from      ", "dim"), Span(done.line)])
    return lines


def _fields(done: Replayed) -> dict[str, Any]:
    assert done.error is not None
    where = {"run": done.run_id, "version": done.version or None, "path": done.path or None, "line": done.line or None}
    return {**where, "expected": list(done.expected), "code": done.error.code, "what": done.error.message}
