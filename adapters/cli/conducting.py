"""`conductor`: a process that takes jobs and drives them."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from .options import AppOption, DatabaseUrlOption
from .running import app_of
from .stopping import until_drained
from .terminal import say


def conductor(
    context: typer.Context,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", metavar="NAME", help="Take jobs of this queue; may be repeated.")
    ] = None,
    max_runs: Annotated[
        int | None, typer.Option("--max-runs", min=1, metavar="N", help="Drive at most so many at once.")
    ] = None,
    health: Annotated[
        str | None, typer.Option("--health", metavar="HOST:PORT", help="Answer /livez and /readyz there.")
    ] = None,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Take jobs from the board and drive them, until told to stop.

    SIGTERM or ^C drains: no more jobs are taken, running tasks finish, and what is not over goes back to the board. A
    second one ends at once: others then go on with its runs.
    """
    from flowledger.adapters.conductor.health import Health  # noqa: PLC0415 - loads a server
    from flowledger.events.board import DEFAULT_QUEUE  # noqa: PLC0415

    from .process_log import configure  # noqa: PLC0415

    found = app_of(context, app, database_url)
    found.use(max_runs=max_runs)
    configure(found.settings)
    conducting = found.conducting(queues=queue or [DEFAULT_QUEUE])
    serving = Health(health, alive=conducting.alive, ready=conducting.ready) if health else None
    with closing(found):
        conducting.start()
        if serving is not None:
            say(f"health on port {serving.port}")
        until_drained(conducting, left=lambda: f"{conducting.runs} runs are left to others")
    if serving is not None:
        serving.close()
