"""How another process finds an app: ``module:attribute``, and back (API §3.16)."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType

from flowledger.core.registry import Registry
from flowledger.events.errors import NotImportable

_HOW = "put the app in a module of its own, e.g. `flows.py`, and import it from there"

#: What is being imported for somebody else's process, if anything.
_IMPORTING: ContextVar[str | None] = ContextVar("flowledger_importing", default=None)


def name_of(app: Registry) -> str:
    """Where another process finds this app.

    Raises:
        NotImportable: nowhere: it was made in a notebook, a REPL, a function, or a script that is no module.
    """
    for name, module in list(sys.modules.items()):
        attribute = _attribute(module, app)
        if attribute is not None and (found := _importable(name, module)) is not None:
            return f"{found}:{attribute}"
    raise NotImportable(f"the app {app.name} is in no module that another process could import", hint=_HOW)


def _attribute(module: ModuleType, app: Registry) -> str | None:
    names = getattr(module, "__dict__", {})
    return next((name for name, value in list(names.items()) if value is app), None)


def _importable(name: str, module: ModuleType) -> str | None:
    """The name to import it by; a script that was started as ``python -m package.module`` has one."""
    if name != "__main__":
        return name
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name)
    file = getattr(module, "__file__", None)
    if file and file.endswith(".py") and sys.path and file.startswith(sys.path[0]):
        return str(file[len(sys.path[0]) :].removesuffix(".py").strip("/").replace("/", "."))
    return None


def app_named(spec: str) -> Registry:
    """The app at ``module:attribute``, which whoever started this process has named.

    Raises:
        NotImportable: there is none.
    """
    module, _, attribute = spec.partition(":")
    token = _IMPORTING.set(module)
    try:
        found = getattr(import_module(module), attribute or "app", None)
    except ImportError as error:
        raise NotImportable(f"{spec}: {error}", hint=_HOW) from error
    finally:
        _IMPORTING.reset(token)
    if not isinstance(found, Registry):
        raise NotImportable(f"{spec} is no App", hint=_HOW)
    return found


def refuse_while_imported(app: str) -> None:
    """Refuse to run anything while a module is imported for another process: that would import it, too, without end.

    Raises:
        NotImportable: it is.
    """
    module = _IMPORTING.get()
    if module is not None:
        raise NotImportable(
            f"{module} uses the app {app} while another process imports it: each such process would start the next one",
            hint='put what runs under `if __name__ == "__main__":`, and leave definitions outside',
        )
