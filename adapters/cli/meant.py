"""Which runs are meant, why, and whether that is sure: what the verbs have in common that ask something of runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import Terminal, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowledger.adapters.history import History
    from flowledger.core.preview import Preview
    from flowledger.events.store import Stream

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, in order; change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
#: Of verbs that destroy nothing and never ask: scripts may say it to all of their group.
NeverAsksOption = Annotated[bool, typer.Option("--yes", "-y", hidden=True)]


def streams_of(history: History, references: Sequence[str]) -> list[Stream]:
    """The runs meant, all of them found before the first is touched."""
    return [history.find(reference) for reference in references]


def each(streams: list[Stream], work: Callable[[Stream], int]) -> None:
    """One run after the other; a refused one does not keep the others from being tried."""
    from flowledger.events.errors import FlowledgerError  # noqa: PLC0415

    from .exits import report  # noqa: PLC0415

    codes: list[int] = []
    for stream in streams:
        try:
            codes.append(work(stream))
        except FlowledgerError as error:
            codes.append(report(error, say))
    worst = max(codes, default=0)
    if worst:
        raise typer.Exit(worst)


def is_attended() -> bool:
    """Whether a person sits at the terminal who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def reason_for(verb: str, reason: str | None) -> str:
    """Why, as given or asked for.

    Raises:
        InputError: nobody says why, and there is nobody to ask.
    """
    from flowledger.events.errors import InputError  # noqa: PLC0415

    if reason is None and is_attended():
        reason = str(typer.prompt("reason", err=True))
    if not reason or not reason.strip():
        raise InputError(f"a {verb} needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
    return reason


def confirm(verb: str, streams: list[Stream], undone: Callable[[Stream], int], *, yes: bool) -> None:
    """Ask a person at a terminal before something is undone; a script has said what it wants."""
    if yes or not is_attended():
        return
    numbers = [undone(stream) for stream in streams]
    for stream, tasks in zip(streams, numbers, strict=True):
        say(f"{stream.factory} {stream.run_id}: {tasks} tasks would be reverted")
    if any(numbers) and not typer.confirm(f"{verb}?", err=True):
        say("nothing was changed")
        raise typer.Exit(0)


def show_preview(terminal: Terminal, verb: str, stream: Stream, preview: Preview) -> int:
    """What would be undone, in order; what would run again; how much is kept. Returns the exit code."""
    from .words import count  # noqa: PLC0415

    if terminal.json:
        fields = {"id": stream.run_id, "reverts": preview.reverts, "keeps": preview.keeps}
        terminal.document("preview", {**fields, "runs_again": preview.runs_again})
        return 0
    for place, path in enumerate(preview.reverts, start=1):
        terminal.line(f"{place:>3}  {path}" if verb == "revert" else f"revert {place:>3}  {path}")
    for path in preview.runs_again:
        terminal.line(f"run         {path}")
    if verb == "revert":
        say(f"would revert {count(len(preview.reverts), 'task')} of run {stream.run_id}, in this order")
    else:
        first = f"revert {count(len(preview.reverts), 'task')} in this order, then " if preview.reverts else ""
        kept = f"keep {count(len(preview.keeps), 'result')}"
        say(f"{verb} of run {stream.run_id}: would {first}run {count(len(preview.runs_again), 'task')}, {kept}")
    say("no change made (dry run)")
    return 0


def accepted(terminal: Terminal, run_id: str, kind: str) -> int:
    """Say that whoever drives the run has agreed to a request; the exit code."""
    say(f"run {run_id}: {kind} accepted by who drives it")
    if terminal.json:
        terminal.document("answer", {"id": run_id, "request": kind, "accepted": True})
    return 0
