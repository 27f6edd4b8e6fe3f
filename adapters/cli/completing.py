"""`completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

from typing import Annotated

import typer

from .terminal import Terminal

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Write the completion script of a shell: eval "$(flowledger completion bash)" in its start-up file."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415

    from flowledger.events.errors import InputError  # noqa: PLC0415

    if shell not in SHELLS:
        raise InputError(
            f"{shell!r}: there is no completion for this shell", field="SHELL", expected=", ".join(SHELLS), given=shell
        )
    script = get_completion_script(prog_name="flowledger", complete_var="_FLOWLEDGER_COMPLETE", shell=shell)
    for line in script.splitlines():
        Terminal(plain=True).line(line)
