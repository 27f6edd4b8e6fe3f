"""`jobs ls|show|release|takeover|trash` and `conductors`: the job board for operators. None of them imports the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .options import DatabaseUrlOption, JsonOption, PlainOption, ReasonOption, RunArgument, settings_of, terminal_of
from .reading import reading
from .spans import Span
from .terminal import Terminal, say
from .words import Look, iso, took

if TYPE_CHECKING:
    from flowledger.adapters.jobs import Listed
    from flowledger.events.board import Conductor

jobs = typer.Typer(help="The job board: what waits for a conductor.", no_args_is_help=True, rich_markup_mode=None)

#: As `adapters.jobs.DEAD_S`, which is loaded only by who needs it.
DEAD_S: Final = 20.0

_LOOKS: Final[dict[str, Look]] = {
    "READY": Look("◌", "bold blue"),
    "OWNED": Look("▶", "bold blue"),
    "ORPHANED": Look("!", "bold yellow"),
    "WAITING": Look("◔", "yellow"),
    "SUSPENDED": Look("‖", "bold yellow"),
    "REFUSED": Look("✘", "bold red"),
    "TRASHED": Look("⊘", "dim"),
    "UNSERVED": Look("!", "bold red"),
    "OVER": Look("✔", "dim"),
}


@jobs.command("ls")
def list_jobs(
    context: typer.Context,
    of: Annotated[str | None, typer.Option("--of", metavar="APP", help="Only jobs of this app, by its name.")] = None,
    after: Annotated[str, typer.Option("--after", metavar="RUN", help="Go on after this run id.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List runs that wait for a conductor, that one has, or that were moved aside."""
    from flowledger.adapters.jobs import listed  # noqa: PLC0415 - loads the store

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        found = listed(history.store, app=of, after=after, limit=limit)
        if terminal.json:
            terminal.document("jobs", {"log": history.store.describe(), "items": [_fields(one) for one in found]})
            return
        heads = ("STATE", "PRIO", "QUEUE", "FLOW", "RUN", "KEY", "WHY")
        terminal.table(heads, [_row(one) for one in found], elastic=("FLOW", "KEY", "WHY"))
        say(f"log: {history.store.describe()}")
        if len(found) == limit:
            say(f"more: --after {found[-1].job.run_id}")


@jobs.command("show")
def show_job(
    context: typer.Context,
    run: RunArgument,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Show one job: how it stands and why, who has it, what was said of it."""
    from flowledger.adapters.jobs import job_of, judged  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        job = job_of(history.store, history.find(run))
        one = judged(job, history.store.board.conductors(), history.store.now_us())
        if terminal.json:
            terminal.document("job", _fields(one))
            return
        for name, value in _fields(one).items():
            terminal.line(f"{name:<12}{'' if value is None else value}")


@jobs.command("release")
def release_job(
    context: typer.Context, run: RunArgument, reason: ReasonOption = None, database_url: DatabaseUrlOption = None
) -> None:
    """Take a job from its owner, or back from the trash: any conductor may have it then. Its owner is fenced."""
    from flowledger.adapters.jobs import release  # noqa: PLC0415
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    with reading(context, database_url) as history:
        stream = history.find(run)
        freed = release(history.store, stream, reason=reason or "", actor=actor())
        say(f"run {stream.run_id} is anybody's" + ("" if freed else " (it was already)"))


@jobs.command("takeover")
def take_over_job(
    context: typer.Context,
    run: RunArgument,
    reason: ReasonOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also from an owner that was heard just now.")] = False,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Take a run from an owner that is dead or hangs, without waiting for its time to be over; the log keeps why.

    Its owner is fenced. A job goes back to the board; any other run is free for `resume`.
    """
    from flowledger.adapters.runtime import actor  # noqa: PLC0415
    from flowledger.adapters.taking_over import FRESH_BEATS, take_over  # noqa: PLC0415

    fresh_s = FRESH_BEATS * settings_of(context, database_url=database_url).lease_heartbeat_s
    with reading(context, database_url) as history:
        stream = history.find(run)
        taken = take_over(
            history.store, stream, reason=reason or "", actor=actor(), fresh_s=fresh_s, force=force
        )  # fmt: skip
        who = "it is on the board again" if stream.queue is not None else f"go on with `flowledger resume {run}`"
        say(f"run {stream.run_id} is taken from {stream.owner}; {who}" if taken else f"nobody has run {stream.run_id}")


@jobs.command("trash")
def trash_job(
    context: typer.Context, run: RunArgument, reason: ReasonOption = None, database_url: DatabaseUrlOption = None
) -> None:
    """Move a job aside: nobody is given it until `jobs release`."""
    from flowledger.adapters.jobs import trash  # noqa: PLC0415
    from flowledger.adapters.runtime import actor  # noqa: PLC0415

    with reading(context, database_url) as history:
        stream = history.find(run)
        trash(history.store, stream, reason=reason or "", actor=actor())
        say(f"run {stream.run_id} is moved aside; `jobs release` puts it back")


def conductors(
    context: typer.Context, database_url: DatabaseUrlOption = None, json: JsonOption = False, plain: PlainOption = False
) -> None:
    """List the processes that take jobs: what they take, how much they have, when they were last seen."""
    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        _show_conductors(terminal, history.store.board.conductors())


def _show_conductors(terminal: Terminal, found: list[Conductor]) -> None:
    if terminal.json:
        items = [
            {
                "id": c.owner, "host": c.host, "pid": c.pid, "app": c.app, "queues": c.queues,
                "flows": c.factories, "runs": c.runs, "max_runs": c.max_runs, "draining": c.draining,
                "seen_s": round(c.seen_s, 1),
            }
            for c in found
        ]  # fmt: skip
        terminal.document("conductors", {"items": items})
        return
    rows = [
        (
            _doing(c), c.app, ",".join(c.queues),
            f"{c.runs}/{c.max_runs}", f"{c.pid}@{c.host}", took(round(c.seen_s * 1e6)), c.owner,
        )
        for c in found
    ]  # fmt: skip
    terminal.table(("STATE", "APP", "QUEUES", "RUNS", "PROCESS", "SEEN", "ID"), rows, elastic=("QUEUES",))


def _doing(conductor: Conductor) -> Span:
    """What a conductor is about; one that was not seen for long is dead, whatever it said last."""
    if conductor.seen_s > DEAD_S:
        return Span("! GONE", "bold red")
    return Span("‖ DRAINING", "yellow") if conductor.draining else Span("▶ TAKING", "bold blue")


def _row(one: Listed) -> tuple[str | Span, ...]:
    job, look = one.job, _LOOKS[one.standing]
    shown = Span(f"{look.icon} {one.standing}", look.style)
    return (shown, str(job.priority), job.queue, job.factory, job.run_id, job.key or "", one.why)


def _fields(one: Listed) -> dict[str, Any]:
    job = one.job
    return {
        "id": job.run_id, "standing": one.standing, "why": one.why, "app": job.app, "flow": job.factory,
        "key": job.key, "queue": job.queue, "priority": job.priority, "status": job.status,
        "wake_at": iso(job.wake_at_us), "owner": job.owner, "host": job.host, "pid": job.pid, "epoch": job.epoch,
        "submitted": iso(job.created_us),
    }  # fmt: skip
