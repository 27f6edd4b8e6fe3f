"""The command line. Light on purpose: ``flowledger --help`` loads typer and nothing that draws, stores or sends."""

from __future__ import annotations

import os
import sys
import warnings
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that ``sys.argv`` asks for; ends the process with one of the codes of `exits`."""
    from .commands import commands  # noqa: PLC0415 - typer is loaded by who types
    from .exits import report  # noqa: PLC0415
    from .terminal import say  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    warnings.showwarning = lambda message, *_: say(f"warning: {message}")
    try:
        commands(prog_name="flowledger")
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Python must not try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last place where anything can be said
        sys.exit(report(error, say))
    sys.exit(0)
