"""`config show`: every setting with its value and where that came from. Nothing is opened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import typer

from .options import AppOption, DatabaseUrlOption, JsonOption, PlainOption, settings_of, terminal_of
from .terminal import say

if TYPE_CHECKING:
    from flowledger.adapters.settings import Settings

config = typer.Typer(help="What is set, and where.", no_args_is_help=True, rich_markup_mode=None)

#: Their text is a key.
_NOT_SHOWN: Final = frozenset({"codec_keys", "signing_keys"})
# To the last @: a password may stand there that ought to have been quoted.
_PASSWORDS: Final = re.compile(r"(?<=://)([^:/?#@]*):.*(?=@)|((?:password|passwd|sslpassword)=)[^&\s]*")


@config.command("show")
def show_config(
    context: typer.Context,
    app: AppOption = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Show every setting: what holds, and whether an option, the environment, a file or the default says so.

    Passwords and keys are not shown. What `App(…, settings=…)` sets in code is not known here.
    """
    terminal = terminal_of(json=json, plain=plain)
    found = shown(settings_of(context, app=app, database_url=database_url))
    if terminal.json:
        items = {name: {"value": value, "from": origin} for name, value, origin in found}
        terminal.document("config", {"settings": items})
        return
    rows = [(name.upper(), "" if value is None else str(value), origin) for name, value, origin in found]
    terminal.table(("SETTING", "VALUE", "FROM"), rows, elastic=("VALUE",))
    say("the environment's names begin with FLOWLEDGER_; the README says what each is")


def shown(settings: Settings) -> list[tuple[str, Any, str]]:
    """Name, value and origin of each setting, secrets masked."""
    found: list[tuple[str, Any, str]] = []
    for name, origin in settings.origins.items():
        value = getattr(settings, name)
        if name == "app" and value is None:
            value, origin = _project_app(origin)  # noqa: PLW2901 - of this setting only
        found.append((name, _masked(name, value), origin))
    return found


def _project_app(origin: str) -> tuple[str | None, str]:
    from .finding import in_project_file  # noqa: PLC0415

    named = in_project_file()
    return (named, "pyproject.toml") if named else (None, origin)


def _masked(name: str, value: Any) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if name in _NOT_SHOWN:
        return f"({sum(1 for line in value.splitlines() if line.strip())} set, not shown)"
    if name.endswith("_url"):
        return _PASSWORDS.sub(lambda found: f"{found[1]}:…" if found[2] is None else f"{found[2]}…", value)
    return value
