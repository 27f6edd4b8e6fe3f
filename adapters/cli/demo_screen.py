"""The screen of the demo: what it does, what it came to, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowledger.adapters.history import History, missing_file

from .as_json import run_fields
from .driven import Driven, exit_code
from .exits import Exit
from .finding import in_project_file
from .frame import failures, frame, resumed
from .options import program
from .spans import Line, Span
from .terminal import Terminal, say
from .tree import Drawing
from .words import count, look, took

if TYPE_CHECKING:
    from flowledger.events.store import Stream
    from flowledger.projections.run_view import RunView

    from .demo_cluster import ClusterExample


def provision(terminal: Terminal, example: ClusterExample) -> int:
    """Run the demo, go on with one that was interrupted, or show the cluster that stands; returns the exit code."""
    example.directory.mkdir(parents=True, exist_ok=True)
    app = example.app
    last = newest(example)
    if last is not None and last.status in ("SUCCEEDED", "FAILED"):
        return _standing(terminal, example, last)
    key = last.key if last is not None and last.status != "REVERTED" else _next_key(last)
    put_title(terminal, example, f"provisioning {example.size} nodes on 127.0.0.1 (real processes)")
    if last is not None and last.key == key:
        say(f"run {last.run_id} was left behind at event {last.version}; going on with it")
        last = last if last.status != "REVERTED" else None
    before = last if last is not None and last.key == key else None
    with Driven(app, terminal, before=before, note=example.note, taken=10) as driven:
        driven.drive(lambda observe: app.execute(example.part(), key=key, observe=observe))
        return conclude(terminal, example, driven.history, driven.view) or exit_code(driven.view)


def newest(example: ClusterExample) -> Stream | None:
    """The last run of the demo's flow in the demo's log."""
    if missing_file(example.database_url) is not None:
        return None
    with History.at(example.database_url) as history:
        return next(iter(history.runs(factory=example.factory, limit=1)), None)


def _next_key(last: Stream | None) -> str:
    """``demo``, and after a revert ``demo-2``: what was undone is over, a new cluster is a new run."""
    if last is None or last.key is None:
        return "demo"
    name, _, number = last.key.rpartition("-")
    return f"{name}-{int(number) + 1}" if name and number.isdecimal() else f"{last.key}-2"


def put_title(terminal: Terminal, example: ClusterExample, text: str) -> None:
    """What is going on, and where its log is."""
    if not terminal.json:
        terminal.lines([[Span(text, "bold"), Span(f"   log: {example.log}", "dim")]])


def _standing(terminal: Terminal, example: ClusterExample, last: Stream) -> int:
    """There is a cluster already: show it."""
    alive, stands = len(example.processes()), last.status == "SUCCEEDED"
    with History.at(example.database_url) as history:
        view = history.view(last.run_id)
        if not terminal.json:
            how = f"{alive} of {example.size} server processes run" if stands else f"its run is {last.status}"
            put_title(terminal, example, f"there is a cluster already (key {last.key}): {how}")
            drawing = Drawing(now_us=view.last_us, compact=True, note=example.note)
            terminal.lines(frame(view, drawing, name=history.short(view.run_id), height=14))
        conclude(terminal, example, history, view)
    if not stands or alive < example.size:
        say(f"something is missing: `{program()} demo --clean` takes down what is left")
    return Exit.OK if stands else Exit.REFUSED


def conclude(terminal: Terminal, example: ClusterExample, history: History, view: RunView) -> int:
    """What it has come to, and what to type next; 0, or the exit code of a run that did not succeed."""
    checked = history.view(view.run_id)  # reads all of it again: every hash is checked
    if terminal.json:
        terminal.document("run", run_fields(checked))
        return exit_code(checked)
    icon, style = look(checked.state)
    done, total = checked.progress
    what = example.came_to(checked) if checked.succeeded else f"{done} of {total} tasks"
    verified = f"  {count(checked.version, 'event')} in {took(checked.duration_us(checked.last_us))}, chain verified"
    lines: list[Line] = [*resumed(checked), [Span(f"{icon} {checked.state}", style), Span(f"  {what}")]]
    lines += [[Span(verified, "dim")], *(failures(checked) if not checked.succeeded else [])]
    code = exit_code(checked)
    if code is Exit.INTERRUPTED:
        lines.append([Span("go on:  ", "bold"), Span(f"{program()} demo    "), Span("nothing is lost", "dim")])
    else:
        lines += _next_steps(example, history.short(checked.run_id), killed=bool(checked.resumptions))
    terminal.lines(lines)
    return code


def _next_steps(example: ClusterExample, name: str, *, killed: bool) -> list[Line]:
    app = [] if in_project_file() == example.app_path else [f"export FLOWLEDGER_APP={example.app_path}"]
    made = Path("Makefile").is_file() and "demo-crash" in Path("Makefile").read_text(encoding="utf-8", errors="replace")
    verb = "make demo-" if made else f"{program()} demo --"
    steps = [
        *app,
        f"export FLOWLEDGER_DATABASE_URL={example.database_url}",
        f"{program()} show {name}",
        f"{program()} revert {name} --dry-run",
    ]
    lines: list[Line] = [[Span("      " if i else "try:  ", "bold"), Span(step)] for i, step in enumerate(steps)]
    if not killed:
        lines.append([Span(f"      {verb}crash    "), Span("kill -9 half way, then resume", "dim")])
    lines.append([Span(f"      {verb}clean    "), Span("undo it, prove that nothing is left", "dim")])
    return lines
