"""The demo killed half way and resumed (`--crash`), and taken down again (`--clean`)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import flowledger
from flowledger.adapters.history import History, missing_file
from flowledger.events.errors import FlowledgerError, InternalError
from flowledger.events.store import FINAL, Stream

from .demo_screen import conclude, newest, put_title
from .driven import Driven, exit_code
from .exits import Exit, report
from .spans import Line, Span
from .terminal import Terminal, say
from .watching import Watch
from .words import count

if TYPE_CHECKING:
    from .demo_cluster import ClusterExample

#: The demo is killed when its log has so many events: about half of them.
KILL_AFTER_EVENTS = 30
_START_S = 30.0
_LOOK_EVERY_S = 0.02


def run_and_kill(terminal: Terminal, example: ClusterExample) -> int:
    """Run the demo in a process of its own, kill that half way, and resume the run in this one; the exit code."""
    if newest(example) is not None or example.processes():
        say("taking the last cluster down first")
        code = clean_up(terminal, example, quiet=True)
        if code:
            return code
    put_title(terminal, example, f"provisioning {example.size} nodes, to be killed half way")
    stream, pid = _run_until_killed(terminal, example)
    with History.at(example.database_url) as history:
        if not terminal.json:
            terminal.lines(_what_is_left(example, history, stream, pid))
    app = example.app
    with Driven(app, terminal, before=stream, note=example.note, taken=14) as driven:
        driven.drive(lambda observe: app.resume_run(stream.run_id, observe=observe))
        return conclude(terminal, example, driven.history, driven.view)


def _run_until_killed(terminal: Terminal, example: ClusterExample) -> tuple[Stream, int]:
    """The run as the killed process left it, and the process's id."""
    child = _start()
    try:
        stream = _first_sign(child, example)
        with (
            History.at(example.database_url) as history,
            Watch(terminal, history.store.plan, name=history.short, note=example.note, silent=terminal.json, taken=4,
                  transient=True) as watch,
        ):  # fmt: skip
            for page in history.follow(stream.run_id, look_every_s=_LOOK_EVERY_S):
                watch.observe(page)
                if watch.view.version >= KILL_AFTER_EVENTS or child.poll() is not None:
                    break
            child.kill()
            child.wait()
            return history.find(stream.run_id), child.pid
    finally:
        child.kill()
        child.wait()


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(flowledger.__file__).resolve().parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "flowledger", "demo", "--plain"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # ^C is for us; we end it in any case
    )


def _first_sign(child: subprocess.Popen[bytes], example: ClusterExample) -> Stream:
    """The run of the process, as soon as its log has it.

    Raises:
        InternalError: the process ended, or does nothing.
    """
    give_up_at_s = time.monotonic() + _START_S
    while time.monotonic() < give_up_at_s and child.poll() is None:
        stream = newest(example)
        if stream is not None:
            return stream
        time.sleep(_LOOK_EVERY_S)
    raise InternalError(f"the demo in process {child.pid} has not begun (its exit code: {child.poll()})")


def _what_is_left(example: ClusterExample, history: History, stream: Stream, pid: int) -> list[Line]:
    view = history.view(stream.run_id)
    atoms = view.root.atoms
    under_way = atoms["RUNNING"] + atoms["WAITING"] + atoms["REVERTING"]
    alive = len(example.processes())
    log = f"{count(view.version, 'event')}, chain verified: {view.root.done} of {view.root.total} tasks done, "
    return [
        [Span("✘ kill -9", "bold red"), Span(f"  process {pid} is gone, in the middle of it")],
        [Span("  its log   ", "dim"), Span(f"{log}{under_way} under way")],
        [Span("  its work  ", "dim"), Span(f"{alive} server processes run, nobody looks after them")],
        [Span("↻ resume", "bold yellow"), Span(f"   in this process, {os.getpid()}")],
    ]


# -- taking it down -----------------------------------------------------------------------------


def clean_up(terminal: Terminal, example: ClusterExample, *, quiet: bool = False) -> int:
    """Undo every run that stands, look whether a process is left, remove the directory; returns the exit code."""
    reverted: list[str] = []
    code = 0
    if missing_file(example.database_url) is None:
        for stream in _runs(example):
            try:
                code = max(code, _undo(terminal, example, stream, reverted, quiet=quiet))
            except FlowledgerError as error:
                code = max(code, report(error, say))
    left = example.processes()
    removed = example.remove() if not left and not code else False
    if terminal.json and not quiet:
        terminal.document("clean", {"reverted": reverted, "processes": [p._asdict() for p in left], "removed": removed})
    elif not quiet or left or code:
        terminal.lines(_proof(example, reverted, removed))
    return Exit.UNSUCCESSFUL if left else code


def _runs(example: ClusterExample) -> list[Stream]:
    """All runs of the example, the newest first: what was added to a cluster goes before the cluster."""
    with History.at(example.database_url) as history:
        return history.runs(app=example.app.name, limit=1000)


def _undo(terminal: Terminal, example: ClusterExample, stream: Stream, reverted: list[str], *, quiet: bool) -> int:
    """Bring a run to REVERTED: one that was left behind is first brought to its end."""
    if stream.status == "REVERTED":
        return 0
    app = example.app
    shown = Terminal(json=terminal.json or quiet, plain=terminal.plain)
    if stream.status not in FINAL:
        say(f"run {stream.run_id} was left behind at event {stream.version}; going on to its end first")
        with Driven(app, shown, before=stream, note=example.note) as driven:
            run = driven.drive(lambda observe: app.resume_run(stream.run_id, observe=observe))
            if run.state not in ("SUCCEEDED", "FAILED"):
                return 0 if run.state == "REVERTED" else exit_code(driven.view)
            stream = driven.history.find(stream.run_id)
    with Driven(app, shown, before=stream) as driven:
        driven.drive(lambda observe: app.revert_run(stream.run_id, reason="demo clean", observe=observe))
        reverted.append(stream.run_id)
        return exit_code(driven.view)


def _proof(example: ClusterExample, reverted: list[str], removed: bool) -> list[Line]:
    """What is gone and what is not, as the operating system says."""
    left = example.processes()
    lines: list[Line] = []
    if reverted:
        lines.append([Span("↺ reverted ", "magenta"), Span(f"{count(len(reverted), 'run')}: {', '.join(reverted)}")])
    if left:
        named = ", ".join(f"{process.name} (pid {process.pid})" for process in left)
        lines.append([Span("✘ processes left ", "bold red"), Span(named)])
        return lines
    lines.append([Span("✔ no server process is left ", "green"), Span("(asked of the operating system)", "dim")])
    gone = f"{example.directory} is removed" if removed else f"nothing to remove in {example.directory}"
    lines.append([Span(f"  {gone}", "dim")])
    return lines
