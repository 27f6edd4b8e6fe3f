"""`demo`: the first five minutes. A cluster of real processes on one screen; then killed, resumed, and undone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, PlainOption, program, terminal_of
from .terminal import say


def demo(
    crash: Annotated[bool, typer.Option("--crash", help="Kill it (-9) half way, then resume it.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Revert it, and prove that no process is left.")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write a first program of your own.")
    ] = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Provision a cluster of five real processes, one of which fails twice."""
    if write is not None:
        _write(write)
        return
    from .demo_cluster import ClusterExample  # noqa: PLC0415 - loads the example
    from .demo_crash import clean_up, run_and_kill  # noqa: PLC0415
    from .demo_screen import provision  # noqa: PLC0415

    terminal, example = terminal_of(json=json, plain=plain), ClusterExample()
    if clean:
        code = clean_up(terminal, example)
    elif crash:
        code = run_and_kill(terminal, example)
    else:
        code = provision(terminal, example)
    if code:
        raise typer.Exit(code)


def _write(path: Path) -> None:
    from .hello import write_hello  # noqa: PLC0415

    write_hello(path)
    say(f"wrote {path}")
    say(f"try:  python {path}")
    say(f"      {program()} show @last")
