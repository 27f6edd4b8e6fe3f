"""The command line. Light on purpose: ``flowledger --help`` loads typer and nothing that draws, stores or sends."""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn


def _warn(message: Warning | str, *_where: object, **_more: object) -> None:
    """A warning in one line: where in our code it was raised says nothing to who typed the command."""
    from .terminal import say  # noqa: PLC0415

    say(f"warning: {message}")


def main() -> NoReturn:
    """Run the command that ``sys.argv`` asks for; ends the process with one of the codes of `exits`."""
    from .commands import verbs  # noqa: PLC0415 - typer is loaded by who types
    from .exits import report  # noqa: PLC0415
    from .terminal import say  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    warnings.showwarning = _warn
    try:
        verbs()(prog_name="flowledger")
    except Exception as error:  # noqa: BLE001 - the last place where anything can be said
        sys.exit(report(error, say))
    sys.exit(0)
