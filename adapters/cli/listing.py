"""`ls`, `attempts`, `audit`: what the views of the log answer. None of them imports the app."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import DatabaseUrlOption, JsonOption, PlainOption, RunArgument, settings_of, terminal_of
from .reading import reading
from .spans import Span
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.history import History
    from flowledger.adapters.views import Views
    from flowledger.projections.history.records import AttemptRecord, AuditRecord, RunRecord

#: So much of an id is shown at least.
_SHORTEST = 8
#: `ls` in context: what begins with one - is a term of the query, so there are no short options.
LS_CONTEXT = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
_LS_OPTIONS = ("--state", "--flow", "--since", "--limit", "--after", "--database-url", "--json", "--plain", "--help")


@contextmanager
def viewing(context: typer.Context, database_url: str | None) -> Generator[tuple[History, Views]]:
    """The log that the options name, and its views, open as long as they are read."""
    from flowledger.adapters.views import Views  # noqa: PLC0415 - loads SQLAlchemy

    with reading(context, database_url) as history, Views(history.store) as views:
        yield history, views


# -- ls -----------------------------------------------------------------------------------------


def ls(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...", help='Which: state:failed flow:provision* -tag:test started:<2h error~"quota".',
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="Only runs in this state; may be repeated.")
    ] = None,
    flow: Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Only runs of this flow.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="Only runs submitted since then: 2h, 3d, 2026-11-26.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Older than this run: the next page.")
    ] = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:  # fmt: skip
    """List runs, the newest first."""
    from flowledger.adapters.history import missing_file  # noqa: PLC0415 - loads SQLAlchemy

    terminal = terminal_of(json=json, plain=plain)
    asked = _asked(query or (), state or (), flow, since)
    missing = missing_file(settings_of(context, database_url=database_url).database_url)
    if missing is not None:
        say(f"there is no log at {missing}")
        _list(terminal, [], str(missing), None)
        return
    with viewing(context, database_url) as (history, views):
        runs, more = _found(views, asked, limit, after)
        where = history.store.describe()
        _list(terminal, runs, where, more)
        say(f"log: {where}" + (f"; more with --after {more}" if more else ""))
        _say_behind(views)


def _asked(words: Sequence[str], states: Sequence[str], flow: str | None, since: str | None) -> str:
    """The query that the words and the options make, checked before anything is opened."""
    from flowledger.projections.query import parse  # noqa: PLC0415

    for word in words:
        if word.startswith("--"):
            near = get_close_matches(word.partition("=")[0], _LS_OPTIONS, n=1)
            raise typer.BadParameter(f"no such option: {word}" + (f" (did you mean {near[0]}?)" if near else ""))
    terms = list(words)
    if states:
        terms.append(f"state:{','.join(states)}")
    if flow is not None:
        terms.append(f'flow:"{flow}"' if '"' not in flow else f"flow:{flow}")
    if since is not None:
        terms.append(f"submitted:{since}" if since[:1].isdigit() and since[-1:].isalpha() else f"submitted:>={since}")
    return parse(" ".join(terms)).text


def _found(views: Views, asked: str, limit: int, after: str | None) -> tuple[list[RunRecord], str | None]:
    """As many as there are up to ``limit``, page by page, and after which others would follow."""
    runs: list[RunRecord] = []
    while True:
        page = views.runs(asked, limit=min(limit - len(runs), 1000), after=after)
        runs += page.items
        after = page.next
        if after is None or len(runs) >= limit:
            return runs, after


def _list(terminal: Terminal, runs: list[RunRecord], where: str, more: str | None) -> None:
    from .as_json import record_fields  # noqa: PLC0415

    if terminal.json:
        terminal.document("runs", {"log": where, "items": [record_fields(run) for run in runs], "next": more})
        return
    cut = _unique([run.id for run in runs]) if terminal.colourful else None
    heads = ("STATE", "FLOW", "RUN", "KEY", "STARTED", "TOOK", "TASKS", "FAILED AT", "ERROR")
    rows = [_row(run, cut=cut) for run in runs]
    terminal.table(heads, rows, elastic=("FLOW", "KEY", "FAILED AT", "ERROR"))


def _unique(ids: list[str]) -> int:
    """How much of each id is needed to tell them apart: a screen is narrow, and the beginning of an id is enough."""
    return next((n for n in range(_SHORTEST, 27, 2) if len({run_id[:n] for run_id in ids}) == len(ids)), 26)


def _row(run: RunRecord, *, cut: int | None) -> tuple[str | Span, ...]:
    """A row; ``cut`` says that a person reads it, and how much of the id is shown."""
    from .words import look, took  # noqa: PLC0415

    icon, style = look(run.state)
    now_us = time.time_ns() // 1000
    duration = run.took_us(now_us) if run.is_final or cut is not None else None
    at = run.failed_at or ""
    return (
        Span(f"{icon} {run.state}", style), run.flow, run.id[:cut], run.key or "",
        _time(run.submitted_us, person=cut is not None), took(duration), f"{run.done}/{run.tasks}",
        at if cut is None else at.partition("/")[2] or at, run.error or "",
    )  # fmt: skip


def _time(time_us: int, *, person: bool) -> str:
    """A time to the second; for a person the day or the time of today."""
    from .words import clock  # noqa: PLC0415

    day, at = clock(time_us)[:19].split(" ")
    today = clock(time.time_ns() // 1000).startswith(day)
    return f"{day} {at}Z" if not person else f"{at}Z" if today else day


def _say_behind(views: Views) -> None:
    """Say that the views are not up to date, if they are not."""
    from .words import took  # noqa: PLC0415

    if views.behind_us:
        say(f"the views are {took(views.behind_us)} behind the log; `flowledger projections status` says more")


# -- attempts -----------------------------------------------------------------------------------


def attempts(
    context: typer.Context,
    run: RunArgument,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Only of this task.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that did not succeed.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="With results, digests of inputs and tracebacks, from the log.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 1000,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List a run's attempts: each start of a task or a revert, what became of it, and how long it took."""
    terminal = terminal_of(json=json, plain=plain)
    with viewing(context, database_url) as (history, views):
        stream = history.find(run)
        states = ("FAILED", "INTERRUPTED", "REVERT_FAILED") if failed else ()
        found = _every_attempt(views, stream.run_id, path.strip("/") if path else None, states, limit)
        found.sort(key=lambda attempt: attempt.started)
        if terminal.json:
            items = [_attempt_fields(history, attempt, full=full) for attempt in found]
            terminal.document("attempts", {"run": stream.run_id, "items": items})
        else:
            heads = ("V", "TASK", "TRY", "ATTEMPT", "STATE", "STARTED", "TOOK", "WHO", "ERROR")
            terminal.table(heads, [_attempt_row(terminal, each) for each in found], elastic=("TASK", "WHO", "ERROR"))
            for each in found if full else ():
                _tell_fully(terminal, history, each)
        say(f"log: {history.store.describe()}")
        _say_behind(views)


def _every_attempt(
    views: Views, run_id: str, path: str | None, states: Sequence[str], limit: int
) -> list[AttemptRecord]:
    found: list[AttemptRecord] = []
    after: str | None = None
    while len(found) < limit:
        page = views.attempts(run_id, path=path, states=states, limit=min(1000, limit - len(found)), after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    return found


def _attempt_row(terminal: Terminal, attempt: AttemptRecord) -> tuple[str | Span, ...]:
    from .words import clock, iso, look, took  # noqa: PLC0415

    icon, style = look(attempt.state)
    task = attempt.path if attempt.phase == "execute" else f"{attempt.path} (revert)"
    started = clock(attempt.started_us)[11:] if terminal.colourful else iso(attempt.started_us) or ""
    return (
        str(attempt.started), task, str(attempt.try_), str(attempt.attempt), Span(f"{icon} {attempt.state}", style),
        started, took(attempt.took_us()), attempt.actor, attempt.error or "",
    )  # fmt: skip


def _attempt_fields(history: History, attempt: AttemptRecord, *, full: bool) -> dict[str, Any]:
    from .as_json import attempt_fields  # noqa: PLC0415

    fields = attempt_fields(attempt)
    return fields | history.details(attempt) if full else fields


def _tell_fully(terminal: Terminal, history: History, attempt: AttemptRecord) -> None:
    from .printable import json_text, lines_of  # noqa: PLC0415

    terminal.line("")
    terminal.line(f"{attempt.path}  try {attempt.try_}, attempt {attempt.attempt}", "bold")
    for name, value in history.details(attempt).items():
        if name == "failure" and value.get("traceback"):
            terminal.lines([[Span(f"  {line}", "dim")] for line in lines_of(str(value["traceback"]).rstrip())])
        elif value not in (None, ""):
            terminal.line(f"  {name}: {json_text(value)}")


# -- audit --------------------------------------------------------------------------------------


def audit(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Only what was done to this run.", show_default=False)
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="WHO", help="Only by this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Say who did what to runs, when and why, the newest first."""
    terminal = terminal_of(json=json, plain=plain)
    with viewing(context, database_url) as (history, views):
        run_id = history.find(run).run_id if run is not None else None
        found: list[AuditRecord] = []
        after: str | None = None
        while len(found) < limit:
            page = views.audit(run_id=run_id, actor=actor, limit=min(1000, limit - len(found)), after=after)
            found += page.items
            after = page.next
            if after is None:
                break
        _list_acts(terminal, found)
        say(f"log: {history.store.describe()}")
        _say_behind(views)


def _list_acts(terminal: Terminal, found: list[AuditRecord]) -> None:
    from .as_json import act_fields  # noqa: PLC0415
    from .words import clock, iso  # noqa: PLC0415

    if terminal.json:
        terminal.document("audit", {"items": [act_fields(act) for act in found]})
        return
    cut = _unique(list(dict.fromkeys(act.run_id for act in found))) if terminal.colourful else None
    rows = [
        (
            clock(act.time_us)[:19] + "Z" if terminal.colourful else iso(act.time_us) or "", act.actor, act.what,
            act.flow, act.run_id[:cut], str(act.version), act.reason, act.note,
        )
        for act in found
    ]  # fmt: skip
    heads = ("TIME", "WHO", "WHAT", "FLOW", "RUN", "V", "WHY", "NOTE")
    terminal.table(heads, rows, elastic=("WHO", "FLOW", "WHY", "NOTE"))
