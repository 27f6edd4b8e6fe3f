"""`worker`: a process that makes tasks for engines elsewhere. `workers ls`: who does."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, terminal_of
from .reading import reading
from .running import app_of
from .spans import Span
from .stopping import until_drained
from .terminal import Terminal, say
from .words import iso, took

if TYPE_CHECKING:
    from flowledger.events.claims import Backlog, KnownWorker

workers = typer.Typer(
    help="The processes that make tasks for engines elsewhere.", no_args_is_help=True, rich_markup_mode=None
)


def worker(
    context: typer.Context,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", metavar="NAME", help="Take requests of this queue; may be repeated.", show_default="all"
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, metavar="N", help="Make at most so many attempts at once.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=0, metavar="N", help="Run sync tasks in so many child processes.")
    ] = 0,
    health: Annotated[
        str | None, typer.Option("--health", metavar="HOST:PORT", help="Answer /livez and /readyz there.")
    ] = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Make tasks that engines elsewhere ask for, until told to stop.

    SIGTERM or ^C drains: nothing more is taken, and what is being made is finished. A second one ends at once: others
    then make it again.
    """
    from flowledger.adapters.conductor.health import Health  # noqa: PLC0415 - loads a server

    from .process_log import configure  # noqa: PLC0415

    found = app_of(context, app, database_url)
    configure(found.settings)
    with closing(found):
        working = found.working(queues=queue or None, concurrency=concurrency, processes=processes)
        serving = Health(health, alive=working.alive, ready=working.ready) if health else None
        working.start()
        if serving is not None:
            say(f"health on port {serving.port}")
        until_drained(working, left=lambda: f"{working.running} attempts will be taken for lost")
    if serving is not None:
        serving.close()


@workers.command("ls")
def list_workers(
    context: typer.Context,
    of: Annotated[
        str | None, typer.Option("--of", metavar="APP", help="Only workers of this app, by its name.")
    ] = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List workers: what they take, how much they make, when they were last heard; and queues that nobody takes."""
    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        _show(terminal, history.store.claims.workers(of), history.store.claims.backlogs(of))


def _show(terminal: Terminal, found: list[KnownWorker], backlogs: list[Backlog]) -> None:
    serving = {(each.app, each.queue): sum(w.serves(each.app, each.queue) for w in found) for each in backlogs}
    if terminal.json:
        items = [
            {
                "id": w.row.id, "host": w.row.host, "pid": w.row.pid, "app": w.row.app, "queues": list(w.row.queues),
                "state": w.row.state if w.lives else "gone", "running": w.running, "concurrency": w.row.concurrency,
                "started": iso(w.started_us), "seen_s": round(w.seen_s, 1),
            }
            for w in found
        ]  # fmt: skip
        queues = [
            {
                "app": each.app, "queue": each.queue, "waiting": each.waiting, "waits_s": round(each.waits_s, 1),
                "workers": serving[each.app, each.queue],
            }
            for each in backlogs
        ]  # fmt: skip
        terminal.document("workers", {"items": items, "queues": queues})
        return
    unserved = [each for each in backlogs if not serving[each.app, each.queue]]
    rows = [
        (
            _doing(w), w.row.app, ",".join(w.row.queues), f"{w.running}/{w.row.concurrency}",
            f"{w.row.pid}@{w.row.host}", took(round(w.seen_s * 1e6)), w.row.id,
        )
        for w in found
    ]  # fmt: skip
    rows += [
        (
            Span("! UNSERVED", "bold red"), each.app, each.queue,
            f"{each.waiting} wait", "", took(round(each.waits_s * 1e6)), "",
        )
        for each in unserved
    ]  # fmt: skip
    terminal.table(("STATE", "APP", "QUEUES", "MAKES", "PROCESS", "SEEN", "ID"), rows, elastic=("QUEUES",))
    for each in unserved:
        say(
            f"no worker takes queue {each.queue} of {each.app}: start one with `flowledger worker --queue {each.queue}`"
        )


def _doing(worker: KnownWorker) -> Span:
    """What a worker is about; one that is gone is, whatever it said last."""
    if not worker.lives:
        return Span("! GONE", "bold red")
    draining = worker.row.state == "draining"
    return Span("‖ DRAINING", "yellow") if draining else Span("▶ TAKING", "bold blue")
