"""Finding the user's app: ``--app``, ``FLOWLEDGER_APP``, or ``[tool.flowledger] app`` in pyproject.toml.

This is the one place where a module is imported by name, and the name is always the user's, never the log's.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flowledger.events.errors import FlowledgerError, InputError, NotImportable

if TYPE_CHECKING:
    from flowledger.adapters.app import App

_HOW = "say --app module:app, set FLOWLEDGER_APP, or put `app` under [tool.flowledger] in pyproject.toml"


def find_app(named: str | None) -> App:
    """The app that ``named`` (``module:attribute``) or else the project file names. The working directory is searched.

    Raises:
        NotImportable: nobody says where the app is, or it is not there.
        DefinitionError: as the import of the user's own module raises it.
    """
    from flowledger.adapters.app import App  # noqa: PLC0415 - reading commands do not need it

    spec = named or in_project_file()
    if not spec:
        raise NotImportable("which app? Nothing names one", hint=_HOW)
    module, _, attribute = spec.partition(":")
    attribute = attribute or "app"
    found = getattr(_import(module, spec), attribute, None)
    if not isinstance(found, App):
        what = "has no" if found is None else f"has a {type(found).__name__}, not an App, as"
        raise NotImportable(f"{spec}: the module {module} {what} {attribute!r}", hint=_HOW)
    return found


def _import(module: str, spec: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(module)
    except FlowledgerError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise NotImportable(f"{spec}: there is no module {error.name!r} here ({here})", hint=_HOW) from error
        raise _broken(module, spec, error) from error
    except Exception as error:
        raise _broken(module, spec, error) from error


def _broken(module: str, spec: str, error: Exception) -> NotImportable:
    return NotImportable(
        f"{spec}: importing {module} failed: {type(error).__name__}: {error}",
        hint="FLOWLEDGER_DEBUG=1 shows the traceback",
    )


def in_project_file() -> str | None:
    """``[tool.flowledger] app`` of the working directory's pyproject.toml, if there is one."""
    path = Path("pyproject.toml")
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", field="app", hint=_HOW) from error
    app = project.get("tool", {}).get("flowledger", {}).get("app")
    return app if isinstance(app, str) else None
